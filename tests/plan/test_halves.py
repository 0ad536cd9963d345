"""16 bits in plans: float16 cannot hold every number, and what it cannot hold is never planned at 16 bits."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.choices import choices
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Link, Problem

TABLE = {8: 0.25, 16: 0.125}
LARGE = {8: 0.25}  # float16 does not hold it


def problem(widths=(8, 16, 32), cut_bits=(8, 16), **tables):
    """x -> a (60 weights) -> b (60 weights) -> y; ten elements each."""
    tensors = tuple(Tensor(name, (10,), "float32") for name in "xaby")
    layers = (
        Layer("a", "conv2d", ("x",), ("a",), 0, 240),
        Layer("b", "conv2d", ("a",), ("b",), 0, 240),
        Layer("y", "softmax", ("b",), ("y",)),
    )
    costs = Costs("edge", "test", dict.fromkeys("aby", 1.0))
    precision = Precision(
        widths=widths,
        weight_matrix={"a": (3, 20), "b": (3, 20)},
        weight_distortion={"a": LARGE, "b": TABLE},
        tensor_distortion=tables.get("tensors", {"a": LARGE, "b": TABLE}),
        fixed=tables.get("fixed", {}),
    )
    graph = Graph("chain", tensors, layers, ("x",), ("y",))
    return Problem(graph, costs, costs, Link("link", 100.0, 100.0), cut_bits=cut_bits, precision=precision)


def test_choices():
    found = choices(problem())
    assert found.weights["a"] == (8, 32) and found.weights["b"] == (8, 16, 32)
    assert found.held["a"] == (8, 32) and found.held["b"] == (8, 16, 32)
    assert found.crossing["a"] == (8,) and found.crossing["b"] == (8, 16)


def test_without_another_width_it_stays_as_it_is():
    found = choices(problem(widths=(16,), cut_bits=(16,)))
    assert found.weights["a"] == () and found.weights["b"] == (16,)
    assert found.held["a"] == (32,) and found.held["b"] == (16,)
    assert found.crossing["a"] == (32,) and found.crossing["b"] == (16,)


@pytest.mark.parametrize("name", ["a"])
def test_fixed_to_16(name):
    with pytest.raises(PlanError, match=f"'{name}' is fixed to 16 bits, but has numbers that float16 cannot hold"):
        problem(fixed={name: 16})


@pytest.mark.parametrize("strategy", ["auto-split", "exact"])
@given(memory=st.integers(120, 700))
@settings(max_examples=15, deadline=None)
def test_planners_never_choose_it(strategy, memory):
    given_problem = replace(problem(), memory_bytes=memory, pins={"a": "edge", "b": "edge"})
    try:
        found = PLANNERS[strategy](given_problem)
    except PlanError:
        return
    for candidate in found:
        assert candidate.weight_bits.get("a") != 16 and candidate.tensor_bits.get("a") != 16
