"""Weights of layers: which array, which axes, which tensor; and one bias corrected with all of calibration."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.calibration.bias import bias_correction
from tvm_split.calibration.gather import gather
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_weights import channel_axes, layer_weights

RANDOM = np.random.default_rng(0)
CONV, DEPTH, DENSE = (RANDOM.normal(0.1, 1, shape).astype("f") for shape in ((4, 3, 1, 1), (4, 1, 3, 3), (100, 6)))


@pytest.fixture
def layers(build):
    def body(emit, x, other):
        first = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, relax.const(CONV)))), "first")
        depth = emit(relax.op.nn.conv2d(first, relax.const(DEPTH), padding=1, groups=4), "depth")
        twice = emit(relax.op.add(depth, emit(relax.op.nn.conv2d(depth, other), "unknown")), "twice")
        flat = emit(relax.op.reshape(twice, (1, 100)), "flat")
        return relax.op.matmul(flat, relax.const(DENSE))

    return FuseActivation()(build(body, (1, 3, 5, 5), (4, 4, 1, 1)))


def test_layers_and_axes(layers):
    found = layer_weights(layers)
    runner = LayerRunner(layers)
    assert all(name in runner.graph.layer for name in found)
    conv, depth, dense = found.values()
    for each, array in ((conv, CONV), (depth, DEPTH), (dense, DENSE)):
        np.testing.assert_array_equal(each.array, array)
    assert (conv.kernel_layout, conv.groups, conv.tensor, conv.in_axis, conv.weight_axis) == ("OIHW", 1, "x0", 1, 0)
    assert (depth.groups, depth.tensor, depth.out_axis, depth.transposed) == (4, next(iter(found)), 1, False)
    assert (dense.kernel_layout, dense.tensor, dense.in_axis, dense.weight_axis) == ("IO", "flat", 1, 1)
    assert channel_axes(found) == {"x0": 1, depth.tensor: 1, "flat": 1}


def test_a_corrected_bias_keeps_the_mean_of_a_layer(layers):
    """Without padding the correction is exact over the samples that gave the means."""
    weights = next(iter(layer_weights(layers).values()))
    runner = LayerRunner(layers)
    zeros = np.zeros((4, 4, 1, 1), np.float32)
    batches = [{"x0": RANDOM.normal(2, 1, (1, 3, 5, 5)).astype("f"), "x1": zeros} for _ in range(5)]
    means = gather(runner, ["x0"], batches, {"x0": 1})["x0"].channel_means
    read = dequantize_weights(*quantize_weights(weights.array, 0, 2), 0)
    correction = bias_correction(weights.array, read, means, weights.kernel_layout, weights.groups)
    x = np.concatenate([batch["x0"] for batch in batches]).astype(np.float64)
    lost = np.einsum("nchw,oc->nohw", x, (CONV - read)[:, :, 0, 0]).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(correction, lost, rtol=1e-4, atol=1e-6)
    assert np.abs(lost).max() > 0.1
