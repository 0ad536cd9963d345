from dataclasses import astuple, replace

import pytest

from tests.profile.made_records import alone_s, halves
from tvm_split.costs import Costs
from tvm_split.errors import CostError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Link, Problem
from tvm_split.plan.sending import packed_elements
from tvm_split.profile.composition import Composition, fit
from tvm_split.profile.records import HalfRecord
from tvm_split.profile.roofline import moved_bytes


def test_the_numbers_that_made_the_halves_are_found():
    truth = (1.2, 3e-6, 1e-10, 2e-11, 1e-9)
    found, errors = fit(halves(40, truth=truth), alone_s())
    assert astuple(found) == pytest.approx(truth, rel=1e-3)
    assert max(abs(error) for error in errors) < 1e-3


def test_a_half_of_which_a_time_is_wrong_does_not_bend_the_others():
    truth = (1.2, 3e-6, 1e-10, 2e-11, 1e-9)
    first, *others = halves(40, truth=truth)
    found, _ = fit([replace(first, seconds=first.seconds / 2), *others], alone_s())
    assert astuple(found) == pytest.approx(truth, rel=1e-3)


def test_errors_of_predicted_layers_are_those_of_predicted_halves():
    made = halves(40, truth=(1.2, 0, 0, 0, 0))
    _, errors = fit(made, alone_s(), {key: 1.5 * seconds for key, seconds in alone_s().items()})
    assert errors == pytest.approx([0.5] * 40, rel=1e-3)


def test_no_number_is_negative_where_parts_run_faster_together():
    found, errors = fit(halves(40, truth=(0.8, -1e-6, 0, 0, 0)), alone_s())
    assert min(astuple(found)) >= 0 and max(abs(error) for error in errors) < 0.5


def test_costs_of_layers_add_up_to_the_half():
    tensors = (Tensor("x", (10,), "float32"), Tensor("y", (20,), "float32"), Tensor("z", (5,), "float32"))
    graph = Graph("net", tensors, (Layer("a", "op", ("x",), ("y",), 7, 100), Layer("b", "op", ("y",), ("z",), 7, 50)),
                  ("x",), ("z",))  # fmt: skip
    found = Composition(2.0, 1.0, 0.01, 0.001).costs(Costs("t", "model", {"a": 3.0, "b": 4.0}), graph)
    assert found.layer_s["a"] == pytest.approx(2 * 3 + 1 + 0.01 * 100 + 0.001 * (100 + 40 + 80))
    assert found.layer_s["b"] == pytest.approx(2 * 4 + 1 + 0.01 * 50 + 0.001 * (50 + 80 + 20))
    assert found.per_crossing_element_s == 0.0


def test_a_plan_adds_up_to_the_halves_that_a_composition_was_fitted_to():
    """Both halves of a cut that a skip and the network's input cross, whose elements are counted as a plan's are."""
    tensors = tuple(Tensor(name, (size,), "float32") for name, size in (("x", 1000), ("a", 60), ("b", 20), ("y", 5)))
    reads = {"a": ("x",), "b": ("a",), "y": ("a", "b", "x")}
    graph = Graph("net", tensors, tuple(Layer(n, "op", r, (n,), 7, 100) for n, r in reads.items()), ("x",), ("y",))
    made, alone = Composition(2.0, 1e-3, 1e-5, 1e-6, 1e-4), {"a": 0.3, "b": 0.4, "y": 0.5}
    costs = made.costs(Costs("t", "model", alone), graph)
    problem = Problem(graph, costs, costs, Link("link", 1e6, 1e6))
    predicted = evaluate(problem, "ab", 8).predicted
    crossing = packed_elements(graph, graph.crossing("ab"))
    assert crossing == 80
    for side, names, seconds in (("edge", "ab", predicted.edge_s), ("cloud", "y", predicted.cloud_s)):
        layers = [graph.layer[name] for name in names]
        moved = sum(moved_bytes(graph, layer) for layer in layers)
        half = HalfRecord("net", side, "2 of 3", 100 * len(names), moved, crossing, 1.0, 0.0, tuple(names))
        assert seconds == pytest.approx(made.half_s(half, alone))


@pytest.mark.parametrize("few", [halves(5), halves(20, networks=1)])
def test_too_few_halves_are_refused(few):
    with pytest.raises(CostError, match=rf"{len(few)} halves of \d networks were timed; expected 8 or more, of 2"):
        fit(few, alone_s())


@pytest.mark.parametrize("value", [-1.0, "x", "1", True, None, float("nan"), float("inf"), 1e9])
def test_a_number_of_a_composition_that_is_none_is_refused(value):
    with pytest.raises(CostError, match=r"per_code_s of the composition is .*; expected a number from 0 to 1000"):
        Composition.from_json({**Composition().to_json(), "per_code_s": value})


@pytest.mark.parametrize("data", [{}, {"scale": 1.0}, {**Composition().to_json(), "other": 1.0}, [1.0], None])
def test_what_is_no_composition_is_refused(data):
    with pytest.raises(CostError, match=r"the composition of layers is .*; expected scale, per_layer_s"):
        Composition.from_json(data)
