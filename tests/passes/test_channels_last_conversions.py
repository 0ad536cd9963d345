"""ChannelsLast: as few conversions as there can be, each tensor's once, in parts of networks.

Weights and inputs are small whole numbers: sums in any order are exact.
"""

import numpy as np
import pytest
from tvm import relax

from tvm_split import pipeline
from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.quantizer import Quantizer

NN = relax.op.nn


def whole(shape, seed=0):
    """Whole numbers that are not symmetric in any axis."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype("float32")


def const(*shape, seed=1):
    return relax.const(whole(shape, seed))


def squeeze_excite(emit, x):
    c = emit(NN.conv2d(x, const(4, 3, 3, 3)), "c")
    s = emit(relax.op.mean(c, [2, 3], keepdims=True), "s")
    d = emit(NN.relu(emit(NN.conv2d(s, const(2, 4, 1, 1)), "d")))
    e = emit(relax.op.clip(emit(NN.conv2d(d, const(4, 2, 1, 1)), "e"), 0, 1))
    return emit(NN.conv2d(emit(relax.op.multiply(c, e), "y"), const(2, 4, 3, 3)), "z")


def local_response(emit, x):
    c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
    wide = emit(relax.op.expand_dims(emit(relax.op.multiply(c, c), "s"), 1), "w")
    near = emit(relax.op.squeeze(emit(NN.avg_pool3d(wide, (4, 1, 1), padding=(2, 0, 0, 1, 0, 0)), "p"), 1), "n")
    return emit(relax.op.add(c, near), "y")


def detection_head(emit, x):
    parts = [emit(NN.conv2d(x, const(4, 3, 1, 1, seed=s)), f"c{s}") for s in range(2)]
    rows = [emit(relax.op.reshape(part, (2, 4, 30)), "r") for part in parts]
    return emit(relax.op.permute_dims(emit(relax.op.concat(rows, 2), "j"), [0, 2, 1]), "y")


def split_and_swap(emit, x):
    parts = emit(relax.op.split(emit(NN.conv2d(x, const(4, 3, 1, 1)), "c"), [1], 1), "s")
    a, b = emit(relax.TupleGetItem(parts, 0)), emit(relax.TupleGetItem(parts, 1))
    return emit(NN.max_pool2d(emit(relax.op.concat([b, a], 1), "j"), (2, 2)), "y")


def tflite(emit, x):
    x = emit(relax.op.permute_dims(x, [0, 3, 1, 2]), "t")
    x = emit(relax.op.subtract(x, const(1, 3, 1, 1)), "n")
    return emit(relax.op.permute_dims(emit(NN.conv2d(x, const(4, 3, 1, 1)), "c"), [0, 2, 3, 1]), "y")


def channel_mixer(emit, x):
    c = emit(NN.conv2d(x, const(4, 3, 1, 1)), "c")
    t = emit(relax.op.permute_dims(c, [0, 2, 3, 1]), "t")
    m = emit(relax.op.permute_dims(emit(relax.op.matmul(t, const(4, 4)), "m"), [0, 3, 1, 2]), "b")
    return emit(NN.avg_pool2d(emit(relax.op.add(c, m), "a"), (2, 2)), "y")


def read_twice(emit, x):
    a, b = (emit(NN.conv2d(x, const(4, 3, 1, 1, seed=s)), f"c{s}") for s in range(2))
    return emit(relax.op.reshape(emit(relax.op.add(a, b), "s"), (2, 120)), "y")


@pytest.mark.parametrize(
    "body, expected",
    [(squeeze_excite, 2), (local_response, 2), (detection_head, 1), (split_and_swap, 2), (channel_mixer, 2),
     (read_twice, 2), (tflite, 0)],
)  # fmt: skip
def test_conversions(apply, conversions, build, run_layers, body, expected):
    """As few as there can be, each tensor's once, and the same numbers."""
    shape = (2, 6, 5, 3) if body is tflite else (2, 3, 6, 5)
    mod = FuseActivation()(build(body, shape))
    result = apply(ChannelsLast(), mod)
    assert conversions(result)["relax.permute_dims"] == expected
    x = whole(shape, 5)
    np.testing.assert_array_equal(run_layers(result, x), run_layers(mod, x))


def test_a_tensor_is_converted_once(apply, conversions, build):
    """Two convolutions and the result read x as NHWC; two matmuls read it as it is."""

    def body(emit, x):
        c = emit(NN.conv2d(x, const(3, 3, 1, 1)), "c")
        d = emit(NN.conv2d(x, const(3, 3, 1, 1)), "d")
        s = emit(relax.op.add(emit(NN.relu(c), "r"), emit(NN.max_pool2d(d, (1, 1)), "p")), "s")
        return emit(relax.op.add(emit(relax.op.matmul(s, const(5, 5)), "m"), emit(relax.op.matmul(s, s), "n")), "y")

    assert conversions(apply(ChannelsLast(), FuseActivation()(build(body, (1, 3, 5, 5)))))["relax.permute_dims"] == 2


def test_quantised_halves(apply, conversions, build, run_layers):
    """The cut's own layers are no operators of Relax: they stay, and get what they had."""
    mod = FuseActivation()(build(squeeze_excite, (2, 3, 6, 5)))
    marked = pipeline.at_cut(["c"], {"c": Quantizer(8, 1.0, 128)})(mod)
    halves = pipeline.halves(marked)
    x = whole((2, 3, 6, 5))
    wanted = _through(halves, run_layers, x)
    rewritten = [apply(ChannelsLast(), half) for half in halves]
    assert all(conversions(half)["relax.permute_dims"] == 2 for half in rewritten)
    np.testing.assert_array_equal(_through(rewritten, run_layers, x), wanted)


def _through(halves, run_layers, x):
    edge, cloud = halves
    return run_layers(cloud, *run_layers(edge, x))
