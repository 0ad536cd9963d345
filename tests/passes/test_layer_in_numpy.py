"""Layers in NumPy: near what the compiled layer makes, whatever its windows; None for what is not known."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_in_numpy import in_numpy
from tvm_split.passes.layering import layer_calls

op = relax.op


def constant(*shape):
    return relax.const(np.random.default_rng(1).normal(size=shape).astype("float32"))


def biased(emit, sums, *shape):
    return emit(op.add(emit(sums, "c"), constant(*shape)), "b")


def silu(emit, x):
    sums = biased(emit, op.nn.conv2d(x, constant(6, 2, 3, 3), groups=2, dilation=(2, 1)), 1, 6, 1, 1)
    return emit(op.multiply(sums, emit(op.sigmoid(sums), "s")), "y")


def residual(emit, x):
    sums = biased(emit, op.nn.conv2d(x, constant(5, 1, 3, 5), groups=5, padding=(1, 2)), 5, 1, 1)
    return emit(op.nn.relu(emit(op.add(sums, x), "r")), "y")


def strided(emit, x):
    sums = biased(emit, op.nn.conv2d(x, constant(6, 4, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1)), 1, 6, 1, 1)
    return emit(op.clip(sums, 0, 6), "y")


def last(emit, x):
    call = op.nn.conv2d(x, constant(3, 2, 4, 5), (1, 2), data_layout="NHWC", kernel_layout="HWIO")
    return emit(op.tanh(biased(emit, call, 5)), "y")


def one_dimension(emit, x):
    return emit(op.nn.relu(emit(op.nn.conv1d(x, constant(4, 3, 3), strides=2, padding=1), "c")), "y")


def product(emit, x):
    return emit(op.nn.relu(biased(emit, op.matmul(x, constant(4, 7)), 7)), "y")


KNOWN = [
    ((2, 4, 9, 8), silu),
    ((1, 5, 7, 9), residual),
    ((2, 4, 7, 9), strided),
    ((1, 6, 7, 4), last),
    ((2, 3, 11), one_dimension),
    ((2, 5, 4), product),
]


@pytest.mark.parametrize(("shape", "body"), KNOWN)
def test_near_the_compiled_layer(build, shape, body):
    mod = FuseActivation()(build(body, shape))
    ((_, callee),) = layer_calls(mod)
    runner, run = LayerRunner(mod), in_numpy(callee)
    assert run is not None
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    (expected,) = runner.run({"x0": x}, runner.graph.outputs).values()
    found = run(*[x] * len(callee.params))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def gelu(emit, x):
    sums = emit(op.nn.conv2d(x, constant(5, 4, 1, 1)), "c")
    return emit(op.nn.gelu(sums), "y")


def transposed(emit, x):
    return emit(op.nn.conv2d_transpose(x, constant(4, 3, 2, 2)), "y")


@pytest.mark.parametrize("body", [gelu, transposed])
def test_what_is_not_known(build, body):
    ((_, callee),) = layer_calls(FuseActivation()(build(body, (1, 4, 5, 5))))
    assert in_numpy(callee) is None
