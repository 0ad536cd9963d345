from dataclasses import astuple

import pytest

from tests.profile.made_records import alone_s, halves
from tvm_split.costs import Costs
from tvm_split.errors import CostError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.profile.composition import Composition, fit


def test_the_numbers_that_made_the_halves_are_found():
    truth = (1.2, 3e-6, 1e-10, 2e-11, 1e-9)
    found, errors = fit(halves(40, truth=truth), alone_s())
    assert astuple(found) == pytest.approx(truth, rel=1e-3)
    assert max(abs(error) for error in errors) < 1e-3


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


@pytest.mark.parametrize("few", [halves(5), halves(20, networks=1)])
def test_too_few_halves_are_refused(few):
    with pytest.raises(CostError, match=rf"{len(few)} halves of \d networks were timed; expected 8 or more, of 2"):
        fit(few, alone_s())


@pytest.mark.parametrize("data", [{"scale": -1.0}, {"scale": "x"}, {"other": 1.0}, {"scale": float("nan")}])
def test_what_is_no_composition_is_refused(data):
    with pytest.raises(CostError, match="composition"):
        Composition.from_json(data)
