"""Quantisers of a candidate's crossing tensors: which have one, whose it is, and what a constant gets."""

import numpy as np
import pytest

from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.ranges import METHODS, best_range, range_by
from tvm_split.calibration.statistics import Statistics
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.problem import Candidate, Crossing, Timing

GRAPH = Graph(
    "g",
    (Tensor("in", (1, 9), "float32"), Tensor("a", (1, 400), "float32"), Tensor("n", (4,), "int32"),
     Tensor("half", (4,), "float16"), Tensor("y", (4,), "float32")),
    (Layer("a", "op", ("in",), ("a",)), Layer("n", "op", ("in",), ("n",)), Layer("half", "op", ("in",), ("half",)),
     Layer("y", "op", ("in", "a", "n", "half"), ("y",))),
    ("in",), ("y",),
)  # fmt: skip


def candidate(**bits):
    parts = tuple(Crossing(name, (1,), width, 1) for name, width in bits.items())
    return Candidate("split", ("a", "n", "half"), parts, 0, Timing(0, 0, 0, 0))


VALUES = np.append(np.random.default_rng(0).laplace(0, 1, 399), 40).astype("float32")


def known(**values):
    return Calibrated(GRAPH, {name: Statistics.of(np.asarray(array)) for name, array in values.items()})


def test_floats_that_the_network_makes_and_that_are_sent_narrower():
    asked = candidate(**{"in": 8, "a": 4, "n": 8, "half": 16})
    found = known(a=VALUES).sent(asked, {})
    assert list(found) == ["a"] and found["a"] == best_range(Statistics.of(VALUES), 4)
    assert known().sent(candidate(a=32, n=8, half=16), {}) == {}
    assert known(half=VALUES.astype("float16")).sent(candidate(half=8), {})["half"].quantizer.bits == 8


@pytest.mark.parametrize("method", METHODS)
def test_by_one_method(method):
    assert known(a=VALUES).sent(candidate(a=3), {}, method) == {"a": range_by(method, Statistics.of(VALUES), 3)}


def test_that_of_the_half_where_it_is_as_wide():
    held = {"a": range_by("min-max", Statistics.of(VALUES), 4)}
    assert known(a=VALUES).sent(candidate(a=4), held)["a"] is held["a"]
    assert known(a=VALUES).sent(candidate(a=2), held)["a"].quantizer.bits == 2


def test_a_constant_is_a_level():
    choice = known(a=np.full(9, 2.5, "float32")).sent(candidate(a=4), {})["a"]
    assert (choice.low, choice.high, choice.quantizer.zero_point) == (2.5, 2.5, 0)
    assert choice.quantizer.scale == np.float32(2.5 / 15) and choice.mse < 1e-12


def test_without_statistics():
    with pytest.raises(KeyError):
        known(half=VALUES).sent(candidate(a=4), {})
