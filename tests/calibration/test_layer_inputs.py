"""Moments of layers' inputs: W times the columns is what the layer computes, whatever its windows."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.calibration.layer_inputs import Moments
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_readings import readings

conv2d = relax.op.nn.conv2d


def constant(*shape):
    return relax.const(np.random.default_rng(1).normal(size=shape).astype("float32"))


@pytest.mark.parametrize(
    ("shape", "call"),
    [
        ((2, 4, 7, 9), lambda x: conv2d(x, constant(6, 4, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1))),
        ((1, 4, 9, 8), lambda x: conv2d(x, constant(6, 2, 3, 3), groups=2, dilation=(2, 1))),
        ((1, 5, 6, 6), lambda x: conv2d(x, constant(5, 1, 3, 3), groups=5, padding=(1, 1))),
        ((1, 6, 7, 4), lambda x: conv2d(x, constant(3, 2, 4, 5), (1, 2), data_layout="NHWC", kernel_layout="HWIO")),
        ((2, 3, 11), lambda x: relax.op.nn.conv1d(x, constant(4, 3, 3), strides=2, padding=1)),
        ((2, 5, 4), lambda x: relax.op.matmul(x, constant(4, 7))),
    ],
)  # fmt: skip
def test_weights_times_columns_are_the_outputs(build, shape, call):
    mod = FuseActivation()(build(lambda emit, x: emit(call(x), "c"), shape))
    (reading,) = readings(mod).values()
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    columns = reading.columns(x, 1000, np.random.default_rng(0))
    rows = reading.rows()
    np.testing.assert_array_equal(reading.from_rows(rows), reading.layer.weight)
    assert columns.shape[2] == reading.width == rows.shape[2]
    runner = LayerRunner(mod)
    expected = runner.run({"x0": x}, runner.graph.outputs)[runner.graph.outputs[0]]
    channels = expected.ndim - 1 if reading.layer.kernel_layout == "IO" else reading.layer.out_axis
    expected = np.moveaxis(expected, channels, -1).reshape(-1, rows.shape[0] * rows.shape[1])
    found = np.einsum("gok,gpk->pgo", rows, columns).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_sums_of_moments():
    columns = np.random.default_rng(0).normal(size=(2, 9, 3)).astype("float32")
    both = Moments.of(columns[:, :4]) + Moments.of(columns[:, 4:])
    assert both.count == 9
    np.testing.assert_allclose(both.apart, Moments.of(columns).apart, rtol=1e-5, atol=1e-6)


def test_inputs_that_hardly_vary_can_be_rounded_for():
    random = np.random.default_rng(0)
    columns = (random.uniform(50, 100, size=(3, 1, 40)) + random.normal(size=(3, 500, 40)) * 1e-4).astype("float32")
    found = (Moments.of(columns[:, :200]) + Moments.of(columns[:, 200:])).covariances()
    expected = [np.cov(one.T, bias=True) for one in columns.astype("float64")]
    np.testing.assert_allclose(found, expected, atol=1e-11)
    assert (np.linalg.eigvalsh(found) > 0).all()
