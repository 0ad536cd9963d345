"""The budget's search with real planners and a made-up network whose losses are known; baselines beside it."""

from dataclasses import replace

import pytest

from tvm_split.accuracy import Accuracy
from tvm_split.choice import Tolerance, baselines, choose
from tvm_split.contest import Contest
from tvm_split.costs import Costs
from tvm_split.drop import drop_of
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS, WITH_BITS
from tvm_split.plan.budget import MEASUREMENTS
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Link, Problem

NAMES = tuple(f"layer_{i}" for i in range(12))


@pytest.fixture
def problem() -> Problem:
    """Twelve layers, all on the edge: each is sooner on integers, where each loses twice what the last one does."""
    tensors = (Tensor("x", (1000,), "float32"), *(Tensor(name, (1000,), "float32") for name in NAMES))
    layers = tuple(
        Layer(name, "dense", (read,), (name,), 0, 4000) for read, name in zip(("x", *NAMES), NAMES, strict=False)
    )
    integer = {name: 0.001 for name in NAMES}
    precision = Precision(
        widths=(8, 32),
        weight_matrix=dict.fromkeys(NAMES, (10, 100)),
        weight_distortion={name: {8: 2.0**i} for i, name in enumerate(NAMES)},
        tensor_distortion={name: {8: 0.0} for name in ("x", *NAMES[:-1])},
        integer=Costs("edge", "test", integer),
    )
    edge, cloud = (Costs(side, "test", dict.fromkeys(NAMES, s)) for side, s in (("edge", 0.01), ("cloud", 1.0)))
    return Problem(Graph("chain", tensors, layers, ("x",), (NAMES[-1],)), edge, cloud, Link("l", 1e3, 1e3),
                   pins={"*": "edge"}, precision=precision)  # fmt: skip


class Look:
    """Measures a drop of distortion / 10,000."""

    def __init__(self) -> None:
        self.seen = []

    def __call__(self, candidates, labels):
        assert len(labels) == len(candidates)
        self.seen += [candidate for candidate in candidates if candidate.distortion]
        return {}, [self.accuracy(candidate) for candidate in candidates]

    def accuracy(self, candidate) -> Accuracy | None:
        if not candidate.distortion:
            return None
        lost = round(candidate.distortion)
        drop = drop_of("top1", [1] * 10_000, [0] * lost + [1] * (10_000 - lost))
        return Accuracy(10_000, 1 - lost / 10_000, 1.0, 1.0, 0.1, drop)


@pytest.mark.parametrize("strategy", WITH_BITS)
@pytest.mark.parametrize("allowed", [1.0, 0.2, 0.03, 0.001, 0.0])
def test_the_soonest_plan_that_is_accurate_enough_is_found(problem: Problem, strategy: str, allowed: float) -> None:
    """Of twelve layers in floats, exact is told to leave those that lose most."""
    look, planner, tolerance = Look(), PLANNERS[strategy], Tolerance(allowed)
    contest = Contest(problem, look)
    contest.add(baselines(problem, []))
    contest.search_budget(planner, planner(problem), tolerance, lambda _: None)
    assert len(look.seen) <= MEASUREMENTS
    chosen = choose(contest.scored, tolerance)
    lost = chosen.accuracy.drop.drop if chosen.accuracy else 0.0
    assert lost <= allowed
    best = planner(replace(problem, precision=replace(problem.precision, max_distortion=allowed * 10_000)))[0]
    assert chosen.candidate.predicted.total_s <= best.predicted.total_s * (1.1 if allowed else 1.0)
    if allowed == 1.0:
        assert len(look.seen) == 1, "the unlimited answer is allowed"
    if allowed == 0.0:
        assert chosen.label == "edge-only"


def test_what_is_predicted_stands_beside_what_is_measured(problem: Problem) -> None:
    contest = Contest(problem, Look(), lambda candidate: candidate.distortion / 5_000)
    contest.add(PLANNERS["exact"](problem)[:1])
    (item,) = contest.scored
    assert item.predicted_drop == pytest.approx(2 * item.accuracy.drop.drop) and item.predicted_drop > 0
    assert Contest(problem, Look()).predict(item.candidate) is None


def test_an_answer_that_was_measured_is_not_measured_again(problem: Problem) -> None:
    look, planner = Look(), PLANNERS["exact"]
    contest = Contest(problem, look)
    contest.add([planner(problem)[0]])
    contest.search_budget(planner, planner(problem), Tolerance(1.0), lambda _: None)
    assert len(look.seen) == len(contest.scored) == 1


def test_baselines_have_names_and_their_own_widths_and_are_never_chosen(problem: Problem) -> None:
    look = Look()
    contest = Contest(problem, look)
    table = {bits: 100.0 / bits for bits in (2, 4, 6, 8)}
    precision = replace(
        problem.precision,
        widths=(2, 4, 6, 8),
        weight_distortion=dict.fromkeys(NAMES, table),
        tensor_distortion=dict.fromkeys(("x", *NAMES[:-1]), table),
    )
    contest.add_baselines(precision)
    assert [item.label for item in contest.scored][:4] == ["U2", "U4", "U6", "U8"]
    assert all(item.baseline for item in contest.scored)
    u2, u8 = (item for item in contest.scored if item.label in ("U2", "U8"))
    assert set(u2.candidate.weight_bits.values()) == {2} and u2.accuracy.drop.drop > u8.accuracy.drop.drop > 0
    assert u2.candidate.edge_memory_bytes < u8.candidate.edge_memory_bytes
    assert not any(Tolerance(1.0).allows(item) for item in contest.scored)
