"""How long an answer may take: ends of its layers added up, each side's own, the link as it is."""

from dataclasses import replace

import pytest

from tvm_split.costs import Costs, with_interval, with_seconds
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.interval import interval_of
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Link, Problem
from tvm_split.profile.composition import Composition
from tvm_split.profile.queueing import under_load, without_load

GRAPH = Graph(
    "net",
    tuple(Tensor(name, (1, 8), "float32") for name in "xab"),
    (Layer("a", "matmul", ("x",), ("a",), 0, 256), Layer("b", "matmul", ("a",), ("b",), 0, 256)),
    ("x",),
    ("b",),
)
EDGE = with_interval(Costs("edge", "roofline", {"a": 1.0, "b": 2.0}), (0.5, 3.0))
CLOUD = with_interval(Costs("cloud", "roofline", {"a": 0.1, "b": 0.2}), (0.25, 2.0))
MEASURED = Costs("edge", "measured", {"a": 1.0, "b": 2.0})
LINK = Link("slow", 32.0, 32.0, 0.0)


def found(edge, cloud, layers, precision=None):
    problem = Problem(GRAPH, edge, cloud, LINK, precision=precision)
    return problem, evaluate(problem, layers, 32)


def test_ends_of_both_sides_are_added_and_the_link_is_as_it_is():
    problem, split = found(EDGE, CLOUD, ["a"])
    assert (split.predicted.uplink_s, split.predicted.downlink_s) == (1.0, 1.0)
    interval = interval_of(problem, split)
    assert (interval.low_s, interval.high_s) == pytest.approx((0.5 + 0.05 + 2.0, 3.0 + 0.4 + 2.0))
    assert interval.low_s < split.predicted.total_s < interval.high_s
    assert interval.to_json() == {"low_s": interval.low_s, "high_s": interval.high_s}


def test_packing_is_in_both_ends():
    edge, cloud = replace(EDGE, per_crossing_element_s=0.25), replace(CLOUD, per_crossing_element_s=0.125)
    problem, split = found(edge, cloud, ["a"])
    interval = interval_of(problem, split)
    assert interval.low_s == pytest.approx(0.5 + 0.05 + 2.0 + 8 * 0.375)
    assert interval.high_s == pytest.approx(3.0 + 0.4 + 2.0 + 8 * 0.375)
    assert interval.low_s < split.predicted.total_s < interval.high_s


def test_an_output_that_is_sent_up_is_packed_too():
    edge, cloud = replace(EDGE, per_crossing_element_s=0.25), replace(CLOUD, per_crossing_element_s=0.125)
    problem = Problem(GRAPH, edge, cloud, LINK, result_at="cloud")
    whole = evaluate(problem, ["a", "b"], 32)
    interval = interval_of(problem, whole)
    assert interval.low_s == pytest.approx(0.5 * 3.0 + whole.predicted.uplink_s + 8 * 0.375)
    assert interval.low_s < whole.predicted.total_s < interval.high_s


def test_a_side_that_was_measured_counts_as_it_is():
    interval = interval_of(*found(MEASURED, CLOUD, ["a"]))
    assert (interval.low_s, interval.high_s) == pytest.approx((1.0 + 0.05 + 2.0, 1.0 + 0.4 + 2.0))


def test_none_where_all_that_is_used_was_measured():
    assert interval_of(*found(MEASURED, MEASURED, ["a"])) is None
    assert interval_of(*found(MEASURED, CLOUD, ["a", "b"])) is None
    assert interval_of(*found(EDGE, MEASURED, [])) is None


def test_layers_on_integers_have_the_ends_of_their_own_costs():
    integer = with_interval(Costs("edge", "roofline", {"a": 0.4, "b": 0.8}), (0.5, 5.0))
    error = {2: 0.0, 4: 0.0, 8: 0.0}
    precision = Precision((8, 32), {"a": (8, 8)}, {"a": error}, {"x": error, "a": error}, integer)
    problem = Problem(GRAPH, EDGE, CLOUD, LINK, precision=precision)
    whole = evaluate_mixed(problem, ["a", "b"], Bits({"a": 8}, {"x": 8}))
    assert whole.predicted.edge_s == pytest.approx(0.4 + 2.0)
    interval = interval_of(problem, whole)
    assert (interval.low_s, interval.high_s) == pytest.approx((0.2 + 1.0, 2.0 + 6.0))


def test_an_edited_time_outside_its_interval_has_none():
    edited = Costs("edge", "roofline", {"a": 9.0, "b": 2.0}, EDGE.provenance)
    assert edited.ends_of("a") == (9.0, 9.0) and edited.ends_of("b") == (1.0, 6.0)


def test_other_seconds_take_their_intervals_along():
    doubled = with_seconds(EDGE, {"a": 2.0, "b": 4.0})
    assert doubled.ends_of("a") == (1.0, 6.0) and EDGE.ends_of("a") == (0.5, 3.0)
    assert with_seconds(MEASURED, {"a": 2.0, "b": 4.0}).provenance == {}
    free = with_interval(Costs("edge", "roofline", {"a": 0.0}), (0.5, 3.0))
    assert with_seconds(free, {"a": 1.0}).ends_of("a") == (1.0, 1.0)


def test_the_load_of_the_cloud_is_in_the_interval():
    busy = under_load(CLOUD, 0.5)
    assert busy.ends_of("b") == pytest.approx((1.5 * 0.05, 1.5 * 0.4))
    assert without_load(busy).ends_of("b") == pytest.approx(CLOUD.ends_of("b"))


def test_layers_within_a_half_have_intervals_within_it():
    within = Composition(scale=2.0, per_layer_s=0.5).costs(EDGE, GRAPH)
    assert within.of("a") == 2.5 and within.ends_of("a") == (1.5, 6.5)
