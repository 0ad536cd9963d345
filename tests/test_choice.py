"""What is looked at, what is good enough, what is chosen: against planning every width at every rate."""

from dataclasses import replace

import numpy as np
import pytest

from tvm_split.accuracy import Accuracy
from tvm_split.choice import Scored, Tolerance, baselines, choose, in_order, no_split_warnings, shortlist
from tvm_split.costs import Costs
from tvm_split.drop import drop_of
from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.labels import label_of
from tvm_split.plan.exhaustive import plan_exhaustive
from tvm_split.plan.problem import Link, Problem


@pytest.fixture
def problem() -> Problem:
    """frame (uint8) -> a -> b -> c: the tensors shrink, and the edge is ten times slower than the cloud."""
    tensors = (
        Tensor("frame", (1, 32, 32, 3), "uint8"), Tensor("a", (1, 1000), "float32"), Tensor("b", (1, 300), "float32"),
        Tensor("c", (1, 10), "float32"),
    )  # fmt: skip
    layers = tuple(
        Layer(name, "op", (read,), (name,), weight_bytes=100) for read, name in (("frame", "a"), ("a", "b"), ("b", "c"))
    )
    graph = Graph("net", tensors, layers, ("frame",), ("c",))
    edge, cloud = (Costs(name, "test", dict.fromkeys("abc", s), {}) for name, s in (("edge", 0.1), ("cloud", 0.01)))
    return Problem(graph, edge, cloud, Link("link", 10_000.0, 1e6), cut_bits=(4, 8))


def accuracy(top1: float | None, relative: float = 0.5) -> Accuracy:
    wrong = None if top1 is None else round((1 - top1) * 100)
    drop = None if wrong is None else drop_of("agreement", [1] * 100, [0] * wrong + [1] * (100 - wrong), True)
    return Accuracy(100, top1, 1.0, 1.0, relative, drop)


def test_the_shortlist_holds_every_width_and_the_winners_at_other_rates(problem):
    found = shortlist(problem, plan_exhaustive(problem), plan_exhaustive)
    assert {candidate.kind for candidate in found} == {"split"}
    assert {part.bits for candidate in found for part in candidate.crossing} == {4, 8}
    for rate in (1e4, 1e5, 1e6, 1e7):
        at_rate = problem.with_link(replace(problem.link, up_bytes_per_s=rate))
        for bits in (4, 8):
            best = plan_exhaustive(replace(at_rate, cut_bits=(bits,)))[0]
            if best.kind == "split":
                assert (best.edge_layers, bits) in {(c.edge_layers, c.crossing[0].bits) for c in found}
    times = [candidate.predicted.total_s for candidate in found]
    assert times == sorted(times)  # all at the problem's own rate


def test_a_width_that_does_not_fit_is_no_error(problem):
    needs = {c.crossing[0].bits: c.edge_memory_bytes for c in plan_exhaustive(problem) if len(c.edge_layers) == 1}
    tight = replace(problem, memory_bytes=needs[4])
    found = shortlist(tight, plan_exhaustive(tight), plan_exhaustive)
    assert found and all(candidate.edge_memory_bytes <= needs[4] for candidate in found)


def test_an_integer_that_crosses_beside_a_float_does_not_hide_the_answer():
    """x (uint8) is read on both sides: its 8 bits are no reason to plan for floats of 8 bits, which do not fit."""
    tensors = (Tensor("x", (100,), "uint8"), Tensor("t", (100,), "float32"), Tensor("y", (1,), "float32"))
    layers = (Layer("a", "op", ("x",), ("t",)), Layer("b", "op", ("t", "x"), ("y",), weight_bytes=10_000))
    costs = Costs("t", "test", {"a": 0.1, "b": 0.1}, {})
    whole = Problem(Graph("g", tensors, layers, ("x",), ("y",)), costs, costs, Link("l", 1e4, 1e4), cut_bits=(4, 8),
                    pins={"a": "edge"})  # fmt: skip
    needs = {part.bits: found.edge_memory_bytes for found in plan_exhaustive(whole) for part in found.crossing
             if part.tensor == "t"}  # fmt: skip
    tight = replace(whole, memory_bytes=needs[4])
    (found,) = shortlist(tight, plan_exhaustive(tight), plan_exhaustive)
    assert {part.bits for part in found.crossing} == {4, 8}


def test_baselines_and_their_labels(problem):
    frames = [{"frame": np.zeros((1, 32, 32, 3), np.uint8)}]
    found = baselines(problem, frames)
    assert [label_of(candidate) for candidate in found] == ["edge-only", "cloud-only raw", "cloud-only JPEG"]
    raw, coded = found[1:]
    assert (raw.payload_bytes, raw.is_coded, coded.is_coded) == (3072, False, True)
    assert coded.payload_bytes < 1000 and coded.predicted.uplink_s == coded.payload_bytes / 10_000
    assert [label_of(c) for c in baselines(replace(problem, pins={"a": "edge"}), frames)] == ["edge-only"]
    assert [label_of(c) for c in baselines(replace(problem, pins={"c": "cloud"}), [])] == ["cloud-only raw"]
    split = next(c for c in plan_exhaustive(problem) if c.edge_layers == ("a", "b"))
    assert label_of(split).startswith("split after b, ")


def test_the_soonest_that_is_accurate_enough(problem):
    fast, slow, whole = plan_exhaustive(problem)[:3]
    scored = [Scored(whole, "whole"), Scored(slow, "slow", accuracy(0.96)), Scored(fast, "fast", accuracy(0.9))]
    assert [item.label for item in in_order(scored)] == ["fast", "slow", "whole"]
    assert choose(scored, Tolerance(0.05)).label == "slow"
    assert choose(scored, Tolerance(0.1)).label == "fast"
    assert choose(scored, Tolerance(0.03)).label == "whole"
    assert choose([replace(item, baseline=item.label == "fast") for item in scored], Tolerance(0.1)).label == "slow"
    without_classes = [Scored(fast, "fast", accuracy(None, 0.2)), Scored(slow, "slow", accuracy(None, 0.05))]
    assert choose(without_classes, Tolerance()).label == "slow"
    assert choose(without_classes, Tolerance(max_error=0.2)).label == "fast"
    with pytest.raises(PlanError, match=r"no candidate loses at most 0\.01 of agreement \(least: 0\.04\).*--max-drop"):
        choose(scored[1:], Tolerance(0.01))
    with pytest.raises(PlanError, match=r"relative error of 0\.01 \(best: 0\.05\).*--max-error"):
        choose(without_classes, Tolerance(max_error=0.01))


def test_of_equal_times_the_one_that_loses_least(problem):
    """Equal but for rounding; then the least distortion, the least memory and the label decide."""
    (first, *_) = plan_exhaustive(problem)
    timing = first.predicted
    later = replace(first, predicted=replace(timing, edge_s=timing.edge_s * (1 + 1e-13)))
    scored = [Scored(first, "a", accuracy(0.9)), Scored(later, "b", accuracy(0.98))]
    assert choose(scored, Tolerance(0.1)).label == "b"
    assert choose(scored, Tolerance(0.1), lambda candidate: candidate.predicted.total_s).label == "b"
    slower = replace(first, predicted=replace(timing, edge_s=timing.edge_s * 1.001))
    assert choose([scored[0], Scored(slower, "b", accuracy(0.98))], Tolerance(0.1)).label == "a"
    coarse, large = replace(first, distortion=1.0), replace(first, edge_memory_bytes=10**9)
    for worse in (coarse, large, first):
        pair = [Scored(worse, "b", accuracy(0.98)), Scored(first, "a" if worse is first else "c", accuracy(0.98))]
        assert choose(pair, Tolerance(0.1)) is pair[1]
    without = [Scored(first, "a", accuracy(None, 0.05)), Scored(later, "b", accuracy(None, 0.01)), Scored(later, "c")]
    assert [item.label for item in in_order(without)] == ["c", "b", "a"]


def test_what_does_not_fit_is_shown_but_never_chosen(problem):
    (whole,) = (c for c in baselines(replace(problem, memory_bytes=1), []) if c.kind == "edge-only")
    slow = Scored(plan_exhaustive(problem)[-1], "slow")
    assert choose([Scored(whole, "edge-only", fits=False), slow], Tolerance()) is slow
    with pytest.raises(PlanError):
        choose([Scored(whole, "edge-only", fits=False)], Tolerance())


def test_why_there_is_no_split(problem):
    assert no_split_warnings(problem) == []
    (warning,) = no_split_warnings(replace(problem, memory_bytes=10))
    smallest = min(c.edge_memory_bytes for c in plan_exhaustive(problem) if c.edge_layers)
    assert (
        f"fits the edge memory of 10 bytes (--memory); the smallest needs {smallest} bytes. Cloud-only is exempt"
        in warning
    )
