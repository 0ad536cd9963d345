"""FoldBatchNorm: Before and Expected, what must stay, and what becomes a multiply and an add."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.fold_batch_norm import FoldBatchNorm

W = np.arange(1, 5, dtype="float32").reshape(2, 2, 1, 1)
TWO, ONE = np.full(2, 2, "float32"), np.ones(2, "float32")
SHAPE = (1, 2, 4, 4)
EYE = np.eye(4, dtype="float32")
THREE_QUARTERS = np.full(2, 0.75, "float32")  # with epsilon 0.25: the root is 1


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 4, 4), "float32"):
        with R.dataflow():
            conv1 = R.nn.conv2d(x, R.const(W))
            bias = R.add(conv1, R.const(np.array([1, 2], "float32").reshape(1, 2, 1, 1)))
            norm = R.nn.batch_norm(
                bias, R.const(TWO), R.const(ONE), R.const(ONE), R.const(THREE_QUARTERS),
                axis=1, epsilon=0.25, training=False,
            )  # fmt: skip
            bn1 = norm[0]
            scaled = R.multiply(bn1, R.const(np.array([1, 3], "float32").reshape(2, 1, 1)))
            y = R.nn.relu(scaled)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 4, 4), "float32"):
        with R.dataflow():
            conv1 = R.nn.conv2d(x, R.const(W * np.array([2, 6], "float32").reshape(2, 1, 1, 1)))
            scaled = R.add(conv1, R.const(np.array([1, 9], "float32").reshape(1, 2, 1, 1)))
            y = R.nn.relu(scaled)
            R.output(y)
        return y


def test_norm_bias_and_scale_go_into_the_convolution(apply):
    result = apply(FoldBatchNorm(), Before)
    tvm.ir.assert_structural_equal(result, Expected)
    assert [b.var.name for b in result["main"].body.blocks[0].bindings] == ["conv1", "scaled", "y"]


def test_training_mode_stays(apply, caplog, build):
    caplog.set_level("INFO", "tvm_split.passes")
    mod = build(lambda emit, x: norm_of(emit, emit(relax.op.nn.conv2d(x, relax.const(W))), training=True), SHAPE)
    assert apply(FoldBatchNorm(), mod).same_as(mod)
    assert "its batch_norm is in training mode" in caplog.text and "nothing to do" in caplog.text


def test_parameters_that_are_not_constant_stay(apply, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 2, 4, 4), "float32"))
    mean = relax.Var("mean", relax.TensorType((2,), "float32"))
    with builder.function("main", [x, mean]):
        with builder.dataflow():
            y = builder.emit(relax.op.nn.conv2d(x, relax.const(W)))
            one = relax.const(ONE)
            norm = builder.emit(relax.op.nn.batch_norm(y, one, one, mean, one, axis=1, training=False))
            y = builder.emit_output(relax.TupleGetItem(norm, 0))
        builder.emit_func_output(y)
    mod = builder.get()
    assert apply(FoldBatchNorm(), mod).same_as(mod)
    assert "has parameters that are not constant" in caplog.text


def norm_of(emit, y, index=0, axis=1, training=False):
    size = int(y.ty.shape[axis])
    parameters = [relax.const(np.random.default_rng(i).uniform(0.5, 2, size).astype("float32")) for i in range(4)]
    return emit(relax.TupleGetItem(emit(relax.op.nn.batch_norm(y, *parameters, axis=axis, training=training)), index))


def both_read(emit, x):
    c = emit(relax.op.nn.conv2d(x, relax.const(W)))
    return relax.op.add(norm_of(emit, c), c)


def norm_read_twice(emit, x):
    n = norm_of(emit, x)
    return relax.op.add(emit(relax.op.nn.conv2d(n, relax.const(W))), n)


def another_axis(emit, x):
    return relax.op.nn.relu(norm_of(emit, emit(relax.op.nn.conv2d(x, relax.const(W))), axis=3))


def two_axes(emit, x):
    c = norm_of(emit, emit(relax.op.nn.conv2d(x, relax.const(W))))
    return relax.op.nn.relu(norm_of(emit, c, axis=2))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (both_read, ["conv2d", "multiply", "add", "add"]),
        (norm_read_twice, ["multiply", "add", "conv2d", "add"]),
        (another_axis, ["conv2d", "multiply", "add", "relu"]),
        (two_axes, ["conv2d", "add", "multiply", "add", "relu"]),
    ],
)
def test_what_cannot_be_folded_is_a_multiply_and_an_add(apply, run, build, operators, steps, expected):
    mod = build(steps, SHAPE)
    result = apply(FoldBatchNorm(), mod)
    assert operators(result) == expected
    x = np.random.default_rng(8).standard_normal((1, 2, 4, 4)).astype("float32")
    np.testing.assert_allclose(run(mod, x), run(result, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "steps",
    [
        lambda emit, x: relax.op.add(emit(relax.op.nn.conv2d(x, relax.const(W))), relax.const(W[:1, :, :, :])),
        lambda emit, x: relax.op.nn.relu(emit(relax.op.multiply(x, relax.const(W[:1])))),
        lambda emit, x: relax.op.nn.conv2d(emit(relax.op.subtract(x, relax.const(W[:1]))), relax.const(W)),
        lambda emit, x: relax.op.multiply(
            emit(relax.op.nn.conv2d(x, relax.const(W))), relax.const(np.eye(4, dtype="f"))
        ),
        lambda emit, x: relax.op.divide(relax.const(W[:1]), emit(relax.op.nn.conv2d(x, relax.const(W)))),
    ],
)
def test_bias_lone_scale_matrix_and_inverse_stay(apply, build, steps):
    mod = build(steps, SHAPE)
    assert apply(FoldBatchNorm(), mod).same_as(mod)


def test_overflowing_weights_stay_apart(apply, run, build, caplog):
    caplog.set_level("INFO", "tvm_split.passes")

    def steps(emit, x):
        c = emit(relax.op.nn.conv2d(x, relax.const(W * np.float32(1e-30))))
        large = emit(relax.op.nn.conv2d(c, relax.const(W / 4 * np.float32(1e38))))
        return relax.op.multiply(large, relax.const(1e4, "float32"))

    mod = build(steps, SHAPE)
    assert apply(FoldBatchNorm(), mod).same_as(mod)
    assert "the folded weights may overflow float32" in caplog.text


def test_running_mean_of_an_inference_norm_is_its_parameter(apply, run, build, operators):
    mod = build(lambda emit, x: relax.op.add(x, emit(relax.op.reshape(norm_of(emit, x, index=1), (1, 2, 1, 1)))), SHAPE)
    result = apply(FoldBatchNorm(), mod)
    assert operators(result) == ["reshape", "add"]
    x = np.ones((1, 2, 4, 4), "float32")
    np.testing.assert_array_equal(run(mod, x), run(result, x))


def test_norms_on_both_sides_of_a_layer(apply, run, build, operators):
    mod = build(lambda emit, x: norm_of(emit, emit(relax.op.nn.conv2d(norm_of(emit, x), relax.const(W)))), SHAPE)
    result = apply(FoldBatchNorm(), mod)
    assert operators(result) == ["conv2d", "add"]
    x = np.random.default_rng(9).standard_normal((1, 2, 4, 4)).astype("float32")
    np.testing.assert_allclose(run(mod, x), run(result, x), rtol=1e-5, atol=1e-5)
