"""Plans that are made up, as far as reports look at them."""

from types import SimpleNamespace

from tvm_split.choice import Tolerance
from tvm_split.drop import drop_of
from tvm_split.plan.bandwidths import Span
from tvm_split.plan.problem import Candidate, Crossing, Link, Timing
from tvm_split.quantised import Quantised


def scored_as(
    label: str, kind: str, sent: int, times: tuple[float, ...], agreement: float | None = None, **more: object
) -> SimpleNamespace:
    layers = {"edge-only": ("a", "b"), "split": ("a",), "cloud-only": ()}[kind]
    codec = "jpeg" if "JPEG" in label else "packed"
    crossing = (Crossing("x", (sent,), 8, sent, codec),) if sent else ()
    accuracy = None
    if agreement is not None:
        lost = round(20 * (1 - agreement))
        drop = drop_of("agreement", [1] * 20, [0] * lost + [1] * (20 - lost), one_sided=True)
        accuracy = SimpleNamespace(drop=drop, relative_error=0.1, max_abs_error=0.2)
    candidate = Candidate(kind, layers, crossing, 5_000_000, Timing(*times))
    fields = {"measured": None, "fits": True, "baseline": False, "predicted_drop": None, **more}
    return SimpleNamespace(label=label, candidate=candidate, accuracy=accuracy, **fields)


SPLIT = scored_as("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 1.0)
COARSE = scored_as("split after a, 2 bits", "split", 19_000, (0.3, 0.2, 0.1, 0.01), 0.5)
EDGE = scored_as("edge-only", "edge-only", 0, (2.0, 0.0, 0.0, 0.0))
JPEG = scored_as("cloud-only JPEG", "cloud-only", 147_000, (0.0, 1.3, 0.2, 0.01))


def result_of(chosen: SimpleNamespace, *others: SimpleNamespace, spans: tuple[Span, ...] = ()) -> SimpleNamespace:
    candidates = sorted((chosen, *others), key=lambda scored: scored.candidate.predicted.total_s)
    request = SimpleNamespace(edge="raspberry-pi-4", cloud="c5.xlarge", tolerance=Tolerance(), objective="latency",
                              cloud_load=0.0)  # fmt: skip
    problem = SimpleNamespace(link=Link("4g", 731_250, 1_720_000, 0.04), memory_bytes=4_000_000)
    graph = SimpleNamespace(name="net")
    return SimpleNamespace(
        chosen=chosen, candidates=tuple(candidates), request=request, problem=problem, graph=graph, spans=spans,
        calibrating=16, checking=20, quantised={chosen.candidate: Quantised()},
        energy_j=lambda candidate: 5 * candidate.predicted.edge_s, edge_w=None, interval=None,
    )  # fmt: skip
