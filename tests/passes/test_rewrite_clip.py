"""RewriteClip: what ONNX Clip arrives as in each opset, what it leaves alone, and the numbers."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.rewrite_clip import RewriteClip


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            low = R.maximum(x, R.const(-1.0, "float32"))
            six = R.minimum(low, R.const(2.5, "float32"))
            relu = R.maximum(R.const(0.0, "float32"), six)
            y = R.minimum(relu, R.const(float("inf"), "float32"))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            six = R.clip(x, R.prim_value(-1), R.prim_value(2.5))
            y = R.nn.relu(six)
            R.output(y)
        return y


@I.ir_module
class Stays:
    @R.function
    def main(x: R.Tensor((2, 3), "float32"), z: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            both = R.maximum(x, z)
            vector = R.minimum(both, R.const(np.array([1, 2, 3], "float32")))
            high = R.maximum(vector, R.const(5.0, "float32"))
            y = R.minimum(high, R.const(1.0, "float32"))
            R.output(y)
        return y


def imported(low, high, opset, dtype=np.float32):
    """ONNX Clip of a tensor of shape (2, 3); bounds as attributes before opset 11, as inputs since."""
    if opset < 11:
        bounds = {name: float(v) for name, v in (("min", low), ("max", high)) if v is not None}
        node, arrays = helper.make_node("Clip", ["x"], ["y"], **bounds), []
    else:
        arrays = [numpy_helper.from_array(dtype(v), n) for n, v in (("low", low), ("high", high)) if v is not None]
        names = ["x", "low" if low is not None else "", "high" if high is not None else ""]
        node = helper.make_node("Clip", names, ["y"])
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(name, kind, (2, 3)) for name in "xy"]
    graph = helper.make_graph([node], "clip", ends[:1], ends[1:], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return relax.transform.FoldConstant()(from_onnx(model, opset=opset, keep_params_in_input=False))


def test_minimum_and_maximum_become_clip(apply):
    tvm.ir.assert_structural_equal(apply(RewriteClip(), Before), Expected)


def test_two_tensors_vectors_and_crossed_bounds_stay(apply, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    assert apply(RewriteClip(), Stays).same_as(Stays)
    assert "'y' stays: its bounds 5.0 and 1.0 are not in order" in caplog.text


@pytest.mark.parametrize("opset", [6, 11, 13])
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 6, ["clip"]),
        (-1, 0.1, ["clip"]),
        (0, None, ["relu"]),
        (-1, None, ["maximum"]),
        (None, 0.5, ["minimum"]),
        (float("-inf"), float("inf"), []),
    ],
)
def test_imported_clip(apply, run, operators, opset, low, high, expected):
    mod = imported(low, high, opset)
    result = apply(RewriteClip(), mod)
    assert operators(result) == expected
    assert [gvar.name_hint for gvar in result.get_global_vars()] == ["main"]  # the loops are gone
    x = np.array([[-9, -1, -0.5], [0.05, 0.3, 7]], "float32")
    np.testing.assert_array_equal(run(mod, x), run(result, x))


def test_imported_clip_of_integers(apply, run, operators):
    mod = imported(-1, 6, 13, np.int32)
    result = apply(RewriteClip(), mod)
    assert operators(result) == ["clip"]
    x = np.array([[-9, -1, 0], [5, 6, 7]], "int32")
    np.testing.assert_array_equal(run(mod, x), run(result, x))


def test_other_loops_stay(apply):
    """A PrimFunc called maximum that computes something else is not mistaken for one."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            kernel = lambda t: tvm.te.compute(t.shape, lambda *i: tvm.te.max(t(*i), 0.0) + 1.0, name="T_maximum")  # noqa: E731
            y = builder.emit_output(builder.call_te(kernel, x, primfunc_name_hint="maximum"))
        builder.emit_func_output(y)
    mod = builder.get()
    assert apply(RewriteClip(), mod).same_as(mod)


def test_bounds_that_are_numbers_not_tensors(apply, build):
    def body(emit, x):
        low = emit(relax.op.maximum(x, tvm.tirx.FloatImm("float32", -1.0)))
        return relax.op.minimum(low, relax.const(2.5, "float32"))

    (clip,) = apply(RewriteClip(), build(body, (2, 3)))["main"].body.blocks[0].bindings
    assert clip.value.op.name == "relax.clip" and [float(bound.value) for bound in clip.value.args[1:]] == [-1, 2.5]


@settings(max_examples=15, deadline=None)
@given(
    opset=st.sampled_from([6, 13]),
    low=st.none() | st.floats(-4, 4, width=32),
    high=st.none() | st.floats(-4, 4, width=32),
)
def test_same_numbers(apply, run, opset, low, high):
    mod = imported(low, high, opset)
    x = np.random.default_rng(1).uniform(-5, 5, (2, 3)).astype("float32")
    np.testing.assert_array_equal(run(mod, x), run(apply(RewriteClip(), mod), x))
