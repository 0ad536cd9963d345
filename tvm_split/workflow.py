"""The whole way through, as the command line and build scripts call it: model -> plan -> bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_split import accuracy, calibrate, data, frontend, pipeline
from tvm_split.accuracy import Accuracy
from tvm_split.bundle import Bundle
from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph
from tvm_split.jpeg import jpeg_candidate
from tvm_split.plan import PLANNERS
from tvm_split.plan.bandwidths import Span, envelope
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.memory import fits, smallest_split_bytes
from tvm_split.plan.problem import Candidate, Problem, Side, Timing
from tvm_split.profile.roofline import roofline
from tvm_split.targets import TargetSpec, load_link, load_target

if TYPE_CHECKING:
    import tvm

Progress = Callable[[str], None]
Batches = list[Mapping[str, Any]]

#: uplink rates between which turning points are looked for, in bytes a second: 50 kbit/s to 1 Gbit/s
SWEEP = (6_250.0, 125_000_000.0)
#: splits a width whose accuracy is looked at
SHORTLIST = 3
#: when there are no class scores, the largest relative error of the outputs that counts as agreement
MAX_RELATIVE_ERROR = 0.1


@dataclass(frozen=True)
class Request:
    """What a user asks for. `costs` is "roofline", "measured" (this machine stands for both sides, stated in a
    warning), or two costs files for edge and cloud."""

    model: Any
    edge: str = "raspberry-pi-4"
    cloud: str = "c5.xlarge"
    link: str = "4g"
    data: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preprocess: str | None = None
    cut_bits: tuple[int, ...] = (2, 4, 8)
    memory_bytes: int | None = None
    pins: Mapping[str, Side] = field(default_factory=dict)
    tensor_bits: Mapping[str, int] = field(default_factory=dict)
    strategy: str = "auto-split"
    result_at: Side = "edge"
    costs: str | tuple[Path, Path] = "roofline"
    min_agreement: float = 0.95
    samples: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Scored:
    """A candidate with what is known of it beyond its prediction."""

    candidate: Candidate
    label: str
    accuracy: Accuracy | None = None
    measured: Timing | None = None


@dataclass(frozen=True)
class PlanResult:
    request: Request
    graph: Graph
    problem: Problem
    chosen: Scored
    candidates: tuple[Scored, ...]
    spans: tuple[Span, ...]
    warnings: tuple[str, ...]
    module: tvm.IRModule
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class CompileResult:
    plan: PlanResult
    bundle: Bundle


def quiet(_text: str) -> None:
    """No progress wanted."""


def prepare(request: Request) -> tuple[tvm.IRModule, Graph]:
    """The module of layers of the request's model, and its graph."""
    mod = frontend.load(request.model, shapes=request.shapes)
    if request.preprocess:
        from tvm_split.frontend.preprocess_spec import PreprocessSpec
        from tvm_split.passes.preprocess import Preprocess

        mod = Preprocess(PreprocessSpec.named(request.preprocess))(mod)
    mod = pipeline.layers()(mod)
    return mod, extract_graph(mod, model_name(request.model))


def model_name(model: Any) -> str:
    return str(model).removeprefix("zoo:").split("/")[-1] if isinstance(model, str | Path) else "network"


def costs_of(request: Request, graph: Graph, mod: tvm.IRModule) -> tuple[Costs, Costs, list[str]]:
    """Costs of both sides and the warnings that belong to them."""
    edge, cloud = load_target(request.edge), load_target(request.cloud)
    if request.costs == "roofline":
        return roofline(graph, edge), roofline(graph, cloud), [
            "Times are predicted from the targets' data sheets (roofline), not measured; they may be off by a factor."
        ]  # fmt: skip
    if request.costs == "measured":
        from tvm_split.profile.measured import measure_layers

        here = measure_layers(mod, graph, load_target("host"))
        return _scaled(here, graph, edge), _scaled(here, graph, cloud), [
            "Times were measured on this machine and scaled to each target by its roofline; measure on the board."
        ]  # fmt: skip
    edge_path, cloud_path = request.costs
    return Costs.load(Path(edge_path)), Costs.load(Path(cloud_path)), []


def _scaled(here: Costs, graph: Graph, spec: TargetSpec) -> Costs:
    """This machine's times, each multiplied by the ratio of the two rooflines of its layer."""
    host, other = roofline(graph, load_target("host")), roofline(graph, spec)
    scaled = {name: seconds * other.of(name) / host.of(name) for name, seconds in here.layer_s.items()}
    return Costs(spec.name, "measured on the host, scaled by roofline", scaled, here.provenance)


def plan(request: Request, progress: Progress = quiet) -> PlanResult:
    """Plan the request: every kind of answer priced in one table, the finalists' accuracy measured, one chosen.

    PlanError when the planner is unknown or nothing satisfies memory and pins; ModelError, TargetError, CostError and
    DataError for the inputs that are wrong.
    """
    if request.strategy not in PLANNERS:
        raise PlanError(f"there is no planner '{request.strategy}'; the planners are {', '.join(sorted(PLANNERS))}")
    link = load_link(request.link)
    load_target(request.edge), load_target(request.cloud)  # a wrong name is told before any work
    progress(f"reading {model_name(request.model)}")
    mod, graph = prepare(request)
    batches, warnings = _batches(request, graph)
    edge_costs, cloud_costs, notes = costs_of(request, graph, mod)
    warnings += notes
    problem = Problem(
        graph, edge_costs, cloud_costs, link, cut_bits=request.cut_bits, memory_bytes=request.memory_bytes,
        pins=request.pins, tensor_bits=request.tensor_bits, result_at=request.result_at,
    )  # fmt: skip
    progress(f"planning {len(graph.layers)} layers with {request.strategy}")
    planner = PLANNERS[request.strategy]
    found = planner(problem)
    splits = _shortlist(found)
    if not splits:
        warnings += _no_split(problem)
    crossing = {part.tensor for candidate in splits for part in candidate.crossing}
    ranges = {}
    if crossing:
        progress(f"calibrating {len(crossing)} tensors on {len(batches)} samples")
        ranges = calibrate.ranges(mod, [name for name in crossing if _quantisable(graph, name)], batches)
    progress(f"checking the accuracy of {len(splits)} splits")
    scores = accuracy.measure(mod, list(splits), ranges, batches, progress=progress)
    scored = [Scored(c, _label(c), a) for c, a in zip(splits, scores, strict=True)]
    scored += _baselines(problem, batches)
    chosen = _choose(scored, request.min_agreement)
    ordered = tuple(sorted(scored, key=lambda s: (s.candidate.predicted.total_s, s.label)))
    allowed = [item.candidate for item in scored if acceptable(item, request.min_agreement)]
    spans = envelope(problem, allowed, *SWEEP)
    return PlanResult(request, graph, problem, chosen, ordered, spans, tuple(warnings), mod, ranges)


def _no_split(problem: Problem) -> list[str]:
    """Why there is no split, when memory is the reason."""
    if problem.memory_bytes is None or "edge" not in {
        problem.pinned().get(x.name, "edge") for x in problem.graph.layers
    }:
        return []
    needed = smallest_split_bytes(problem)
    if needed <= problem.memory_bytes:
        return []
    return [f"No split fits the edge memory of {problem.memory_bytes} bytes; the smallest needs {needed} bytes."]


def _batches(request: Request, graph: Graph) -> tuple[Batches, list[str]]:
    if request.data is not None:
        return list(data.load_batches(request.data, graph))[: request.samples], []
    return list(calibrate.random_batches(graph, min(request.samples, 4), request.seed)), [
        "No --data was given: ranges were calibrated on random inputs, and agreement says little. Give --data."
    ]


def _quantisable(graph: Graph, name: str) -> bool:
    return graph.tensor[name].is_float and name not in graph.inputs


def _shortlist(found: tuple[Candidate, ...]) -> list[Candidate]:
    """The soonest splits of every width, at most SHORTLIST a width."""
    taken: dict[tuple[int, ...], int] = {}
    chosen = []
    for candidate in found:
        width = tuple(sorted({part.bits for part in candidate.crossing}))
        if candidate.kind == "split" and taken.get(width, 0) < SHORTLIST:
            taken[width] = taken.get(width, 0) + 1
            chosen.append(candidate)
    return chosen


def _label(candidate: Candidate) -> str:
    bits = "/".join(str(b) for b in sorted({part.bits for part in candidate.crossing}))
    return f"split after {candidate.edge_layers[-1]}, {bits} bits"


def _baselines(problem: Problem, batches: Batches) -> list[Scored]:
    """Edge-only, cloud-only raw, and cloud-only JPEG when the only input is a frame of bytes; those that pins allow."""
    every = tuple(layer.name for layer in problem.graph.layers)
    sides = set(problem.pinned().values())
    found = []
    if "cloud" not in sides:
        whole = evaluate(problem, every, problem.cut_bits[0])
        if fits(problem, whole):
            found.append(Scored(whole, "edge-only"))
    if "edge" not in sides:
        raw = evaluate(problem, (), problem.cut_bits[0])
        found.append(Scored(raw, "cloud-only raw"))
        coded = jpeg_candidate(problem, raw, batches)
        if coded is not None:
            found.append(Scored(coded, "cloud-only JPEG"))
    return found


def acceptable(item: Scored, min_agreement: float) -> bool:
    """Whether the candidate answers as the float network does, on the samples it was checked on."""
    if item.accuracy is None:  # nothing is quantised
        return True
    if item.accuracy.top1_agreement is not None:
        return item.accuracy.top1_agreement >= min_agreement
    return item.accuracy.relative_error <= MAX_RELATIVE_ERROR


def _choose(scored: list[Scored], min_agreement: float) -> Scored:
    allowed = [item for item in scored if acceptable(item, min_agreement)]
    if not allowed:
        best = max((s.accuracy.top1_agreement or 0.0 for s in scored if s.accuracy), default=0.0)
        raise PlanError(
            f"no candidate agrees with the float network on {min_agreement:.0%} of the samples (best: {best:.0%}) "
            "and pins forbid edge-only and cloud-only; allow more bits (--cut-bits) or less agreement (--min-agreement)"
        )
    return min(allowed, key=lambda item: (item.candidate.predicted.total_s, item.label))


def compile(request: Request, out: Path, progress: Progress = quiet, force: bool = False) -> CompileResult:
    """`plan`, then `assemble.compile_plan`."""
    from tvm_split.assemble import compile_plan

    result = plan(request, progress)
    return CompileResult(result, compile_plan(result, out, progress, force))
