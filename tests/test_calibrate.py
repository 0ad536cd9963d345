"""Ranges against NumPy, the quantisers that follow, and made-up data."""

import numpy as np
import pytest
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.calibrate import quantizers_for, random_batches, ranges
from tvm_split.errors import DataError, ModelError, PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.plan.problem import Candidate, Crossing, Timing

W1 = np.array([[1, -2, 3], [2, 1, -1]], np.float32)
W2 = np.array([[1, 2], [-1, 1], [3, -4]], np.float32)


@I.ir_module
class Network:
    @R.function
    def main(x: R.Tensor((1, 2), "float32")) -> R.Tensor((1, 2), "float32"):
        with R.dataflow():
            h = R.matmul(x, R.const(W1))
            r = R.nn.relu(h)
            parts = R.split(r, [1], axis=1)
            left = parts[0]
            right = parts[1]
            whole = R.concat([right, left], axis=1)
            y = R.matmul(whole, R.const(W2))
            R.output(y)
        return y


@pytest.fixture(scope="module")
def runner():
    return LayerRunner(FuseActivation()(Network))


BATCHES = [{"x": np.array([row], np.float32)} for row in ([1, 2], [-3, 1], [0, -5])]


def reference(x):
    r = np.maximum(x @ W1, 0)
    whole = np.concatenate([r[:, 1:], r[:, :1]], axis=1)
    return {"x": x, "h": r, "parts.0": r[:, :1], "parts.1": r[:, 1:], "whole": whole, "y": whole @ W2}


def test_ranges_of_every_tensor(runner):
    names = [tensor.name for tensor in runner.graph.tensors]
    got = ranges(runner, [*names, "h"], BATCHES)
    want = [reference(batch["x"]) for batch in BATCHES]
    assert set(names) == set(want[0])
    for name in names:
        assert got[name] == (min(w[name].min() for w in want), max(w[name].max() for w in want)), name
    assert got["x"] == (-5, 2) and got["h"] == (0, 7)
    assert ranges(runner, [], BATCHES) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(runner, bad):
    with pytest.raises(ModelError, match=r"tensor 'x' has values from .* on batch 3; expected finite"):
        ranges(runner, ["x"], [*BATCHES, {"x": np.array([[bad, 0]], np.float32)}])


def test_a_nan_in_the_middle_is_named(runner):
    huge = {"x": np.array([[-3e38, 3e38]], np.float32)}  # finite, but h overflows
    with pytest.raises(ModelError, match=r"tensor 'h' has values from .*inf on batch 0"):
        ranges(runner, ["x", "h"], [huge])


def test_bad_questions(runner):
    with pytest.raises(DataError, match="no batches to calibrate on"):
        ranges(runner, ["h"], [])
    with pytest.raises(ModelError, match=r"no tensor 'parts\.2'; there are parts\.\d"):
        ranges(runner, ["parts.2"], BATCHES)
    with pytest.raises(DataError, match=r"sample 1: the array for input 'x' is float64 \(1, 2\)"):
        ranges(runner, ["h"], [BATCHES[0], {"x": np.zeros((1, 2))}])


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


def test_quantizers():
    found = quantizers_for(
        candidate(**{"in": 8, "a": 4, "n": 32, "half": 16}), GRAPH, {"a": (-3.0, 12.0), "in": (0, 1)}
    )
    assert list(found) == ["a"]
    assert (found["a"].bits, found["a"].scale, found["a"].zero_point) == (4, 1.0, 3)
    assert quantizers_for(candidate(a=16), GRAPH, {"a": (0.0, 65535.0)})["a"].scale == 1.0
    assert quantizers_for(candidate(a=32, n=8), GRAPH, {}) == {}


def test_quantizers_refused():
    with pytest.raises(PlanError, match="'a' is to be sent at 4 bits but has no calibrated range"):
        quantizers_for(candidate(a=4), GRAPH, {"half": (0, 1)})
    constant = quantizers_for(candidate(a=4), GRAPH, {"a": (2.5, 2.5)})["a"]
    assert (constant.zero_point, constant.scale) == (0, np.float32(2.5 / 15))
    with pytest.raises(PlanError, match="sends 'b', but network 'g' has no such tensor"):
        quantizers_for(candidate(b=4), GRAPH, {})


def test_random_batches():
    kinds = ["float32", "float16", "uint8", "int8", "int64", "bool"]
    graph = Graph("g", tuple(Tensor(kind, (2, 5000), kind) for kind in kinds), (), tuple(kinds), ("float32",))
    first, second = random_batches(graph, 2, seed=1)
    again = random_batches(graph, 2, seed=1)[1]
    for kind in kinds:
        assert first[kind].shape == (2, 5000) and first[kind].dtype == kind
        np.testing.assert_array_equal(second[kind], again[kind])
        assert not np.array_equal(first[kind], second[kind])
    assert abs(first["float32"].mean()) < 0.05 and abs(first["float32"].std() - 1) < 0.05
    limits = {"uint8": (0, 255), "int8": (0, 127), "int64": (0, 255), "bool": (0, 1)}
    assert {kind: (int(first[kind].min()), int(first[kind].max())) for kind in limits} == limits
    with pytest.raises(DataError, match="0 random batches were asked for"):
        random_batches(graph, 0, seed=1)
