"""RewriteSum: Before and Expected, what it leaves alone, and the same numbers bit for bit."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.rewrite_sum import RewriteSum


@I.ir_module
class Before:
    @R.function
    def main(a: R.Tensor((2, 3), "float32"), b: R.Tensor((3,), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            wide = R.broadcast_to(b, (2, 3))
            same = R.broadcast_to(a, (2, 3))
            pile = R.stack((same, wide, a), axis=0)
            total = R.sum(pile, axis=[0])
            y = R.nn.relu(total)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(a: R.Tensor((2, 3), "float32"), b: R.Tensor((3,), "float32")) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            total_0 = R.add(a, b)
            total = R.add(total_0, a)
            y = R.nn.relu(total)
            R.output(y)
        return y


def test_sum_becomes_adds(apply):
    result = apply(RewriteSum(), Before)
    tvm.ir.assert_structural_equal(result, Expected)
    assert [binding.var.name for binding in result["main"].body.blocks[0].bindings] == ["total_0", "total", "y"]


def stacked(operator, *shapes, axis=0, over=0, keepdims=False):
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    target = np.broadcast_shapes(*shapes)
    with builder.function("main", inputs):
        with builder.dataflow():
            wide = [builder.emit(relax.op.broadcast_to(x, target)) for x in inputs]
            pile = builder.emit(relax.op.stack(wide, axis=axis))
            y = builder.emit_output(operator(pile, axis=over, keepdims=keepdims))
        builder.emit_func_output(y)
    return builder.get()


@pytest.mark.parametrize(("axis", "over", "keepdims"), [(1, 0, False), (0, 1, False), (0, 0, True), (0, [0, 1], False)])
def test_other_reductions_stay(apply, axis, over, keepdims, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    mod = stacked(relax.op.sum, (2, 3), (2, 3), axis=axis, over=over, keepdims=keepdims)
    assert apply(RewriteSum(), mod).same_as(mod)
    assert "RewriteSum: nothing to do" in caplog.text and "expected 0, 0 and False" in caplog.text


def test_all_terms_smaller_than_the_stack_keep_their_broadcast(apply):
    x = relax.Var("x", relax.TensorType((3,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            wide = builder.emit(relax.op.broadcast_to(x, (2, 3)))
            y = builder.emit_output(relax.op.sum(builder.emit(relax.op.stack([wide, wide], axis=0)), axis=0))
        builder.emit_func_output(y)
    script = apply(RewriteSum(), builder.get()).script()
    assert "R.broadcast_to" in script and "R.add" in script and "R.stack" not in script


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_same_numbers(apply, run, data):
    operator = data.draw(st.sampled_from([relax.op.sum, relax.op.max, relax.op.min, relax.op.mean]))
    full = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    shapes = [
        tuple(1 if data.draw(st.booleans()) else size for size in full)[data.draw(st.integers(0, len(full) - 1)) :]
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    mod = stacked(operator, *shapes)
    result = apply(RewriteSum(), mod)
    assert "R.stack" not in result.script()
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(shape).astype("float32") for shape in shapes]
    np.testing.assert_array_equal(run(mod, *inputs), run(result, *inputs))
