"""ChannelsLast: every operator of its table, with the same numbers and no conversion that is not needed.

Weights and inputs are small whole numbers where sums may run in another order: then every sum is exact.
"""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import LAYER, layer_calls

NN, IMAGE = relax.op.nn, relax.op.image


def whole(shape, seed=0):
    """Whole numbers that are not symmetric in any axis."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype("float32")


def const(*shape, seed=1):
    return relax.const(whole(shape, seed))


POSITIVE = relax.const(np.float32([1, 2, 3, 4]))
#: what follows a convolution on NCHW; the layer must be on NHWC, so that only what goes in and out is converted
FOLLOWERS = {
    "conv": lambda x: NN.conv2d(x, const(3, 4, 3, 2), strides=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2)),
    "conv1x1": lambda x: NN.conv2d(x, const(5, 4, 1, 1)),
    "depthwise": lambda x: NN.conv2d(x, const(4, 1, 3, 3), padding=1, groups=4),
    "depthwise, two a channel": lambda x: NN.conv2d(x, const(8, 1, 3, 3), padding=1, groups=4, strides=2),
    "grouped": lambda x: NN.conv2d(x, const(6, 2, 3, 3), padding=1, groups=2, dilation=2),
    "max_pool": lambda x: NN.max_pool2d(x, (3, 2), strides=(2, 1), padding=(1, 0, 1, 1), dilation=(1, 2)),
    "max_pool, ceil": lambda x: NN.max_pool2d(x, (3, 2), strides=(2, 2), ceil_mode=True),
    "avg_pool": lambda x: NN.avg_pool2d(x, (2, 2), padding=1, count_include_pad=False),
    "avg_pool, padding counts": lambda x: NN.avg_pool2d(x, (2, 4), padding=1, count_include_pad=True),
    "adaptive": lambda x: NN.adaptive_avg_pool2d(x, (3, 1)),
    "global": lambda x: NN.adaptive_avg_pool2d(x, (1, 1)),
    "resize, nearest": lambda x: IMAGE.resize2d(x, (12, 10), method="nearest_neighbor", rounding_method="floor",
                                                coordinate_transformation_mode="asymmetric"),
    "resize, linear": lambda x: IMAGE.resize2d(x, (9, 7), method="linear"),
    "relu": NN.relu,
    "clip": lambda x: relax.op.clip(x, 0, 6),
    "silu": NN.silu,
    "leakyrelu": lambda x: NN.leakyrelu(x, 0.25),
    "prelu": lambda x: NN.prelu(x, const(4), 1),
    "scalar": lambda x: relax.op.multiply(relax.const(np.float32(0.5)), x),
    "one number of rank 4": lambda x: relax.op.add(x, const(1, 1, 1, 1)),
    "a channel": lambda x: relax.op.multiply(x, const(1, 4, 1, 1)),
    "a channel, rank 3": lambda x: relax.op.subtract(x, const(4, 1, 1)),
    "a row": lambda x: relax.op.subtract(x, const(6, 1)),
    "a column": lambda x: relax.op.subtract(const(5), x),
    "a picture": lambda x: relax.op.add(x, const(1, 4, 6, 5)),
    "where": lambda x: relax.op.where(relax.const(whole((1, 4, 1, 1)) > 0), x, const(1, 1, 6, 5)),
    "astype": lambda x: relax.op.astype(x, "float16"),
    "softmax": lambda x: NN.softmax(x, 1),
    "softmax, last axis": lambda x: NN.softmax(x),
    "log_softmax": lambda x: NN.log_softmax(x, -3),
    "mean of pictures": lambda x: relax.op.mean(x, [2, 3], keepdims=True),
    "mean of pictures, rank 2": lambda x: relax.op.mean(x, [-1, -2]),
    "mean of channels": lambda x: relax.op.mean(x, 1, keepdims=True),
    "max of channels": lambda x: relax.op.max(x, 1),
    "sum of rows": lambda x: relax.op.sum(x, [2]),
    "min of all": lambda x: relax.op.min(x),
    "argmax": lambda x: relax.op.argmax(x, 1),
    "concat": lambda x: relax.op.concat([x, const(2, 3, 6, 5), x], 1),
    "concat, last axis": lambda x: relax.op.concat([x, x], -1),
    "slice": lambda x: relax.op.strided_slice(x, [1, -1], [1, 0], [4, 5], [2, 1]),
    "pad": lambda x: NN.pad(x, [0, 0, 0, 1, 2, 3, 4, 5], pad_value=1.0),
    "reflect": lambda x: NN.pad(x, [0, 0, 0, 0, 1, 2, 3, 1], "reflect"),
    "batch_norm": lambda x: relax.TupleGetItem(relax.BlockBuilder().normalize(NN.batch_norm(x, *[POSITIVE] * 4, 1)), 0),
    "instance_norm": lambda x: NN.instance_norm(x, const(4), const(4), 1, [2, 3]),
    "group_norm": lambda x: NN.group_norm(x, const(4), const(4), 2, 1, [2, 3]),
    "layer_norm": lambda x: NN.layer_norm(x, const(4), const(4), [1]),
    "quantize, a scale for each channel": lambda x: relax.op.quantize(
        x, POSITIVE, relax.const(np.arange(4, dtype="int8")), axis=1, out_dtype="int8"
    ),
    "quantize, one scale": lambda x: relax.op.quantize(
        x, relax.const(np.float32(3)), relax.const(np.int8(-2)), out_dtype="int8"
    ),
    "pixels in a row": lambda x: relax.op.reshape(x, (2, 4, 30)),
    "channels in groups": lambda x: relax.op.reshape(x, (2, 2, 2, 6, 5)),
    "another axis": lambda x: relax.op.expand_dims(x, 2),
}  # fmt: skip
ROUNDS = {"instance_norm", "group_norm", "layer_norm"}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_operators(apply, conversions, build, run_layers, name):
    """The operator's layer reads what the convolution wrote, and gives the same numbers."""

    def body(emit, x):
        y = FOLLOWERS[name](emit(relax.op.nn.conv2d(x, const(4, 3, 1, 1)), "c"))
        if isinstance(y, relax.TupleGetItem):
            y = relax.TupleGetItem(emit(y.tuple_value, "y"), y.index)
        return emit(y, "y")

    mod = FuseActivation()(build(body, (2, 3, 6, 5)))
    result = apply(ChannelsLast(), mod)
    functions = {str(callee.attrs[LAYER]): callee for _, callee in layer_calls(result)}
    reader = functions.get("y", functions["c"])  # what is fused with the convolution is in its layer
    assert {tuple(int(e) for e in p.ty.shape.values) for p in reader.params} <= {(2, 6, 5, 4), (2, 6, 5, 3)}
    assert conversions(result)["relax.permute_dims"] <= 2
    x = whole((2, 3, 6, 5), 7)
    (want,), (got,) = run_layers(mod, x), run_layers(result, x)
    assert want.shape == got.shape and want.dtype == got.dtype
    assert not want.ndim or np.ptp(want.astype("float32")) > 0, "all equal: the test would miss a wrong order"
    if name in ROUNDS:  # sums of at most 60 terms that no longer are whole numbers, and a root: |y| < 16
        np.testing.assert_allclose(got, want, rtol=0, atol=(60 + 8) * 2.0**-23 * 16)
    else:
        np.testing.assert_array_equal(got, want)


def test_conv1d(apply, conversions, build, run_layers):
    def body(emit, x):
        y = emit(relax.op.nn.relu(emit(NN.conv1d(x, const(6, 3, 3), strides=2, padding=(1, 2)), "a")))
        y = emit(NN.conv1d(y, const(6, 1, 3), groups=6, dilation=2), "b")
        y = emit(NN.max_pool1d(y, 2, strides=2, padding=1), "p")
        return emit(relax.op.mean(emit(NN.avg_pool1d(y, 2), "q"), 2), "m")

    mod = FuseActivation()(build(body, (2, 3, 24)))
    result = apply(ChannelsLast(), mod)
    assert conversions(result) == {"relax.permute_dims": 1}
    x = whole((2, 3, 24))
    np.testing.assert_array_equal(run_layers(result, x), run_layers(mod, x))


@pytest.mark.parametrize("groups, expected", [(1, 2), (4, 4)])
def test_transposed_convolutions_stay_only_where_vectors_do_not_fit_their_groups(
    apply, build, run_layers, conversions, groups, expected, caplog
):
    caplog.set_level("INFO", "tvm_split.passes")

    def body(emit, x):
        c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
        t = emit(NN.conv2d_transpose(c, const(4, 2, 2, 2), strides=2, groups=groups), "t")
        return emit(NN.max_pool2d(t, (2, 2)), "y")

    mod = FuseActivation()(build(body, (2, 3, 6, 5)))
    result = apply(ChannelsLast(), mod)
    assert conversions(result)["relax.permute_dims"] == expected
    assert ("relax.nn.conv2d_transpose does not work" in caplog.text) == (groups == 4)
    x = whole((2, 3, 6, 5))
    np.testing.assert_array_equal(run_layers(result, x), run_layers(mod, x))
