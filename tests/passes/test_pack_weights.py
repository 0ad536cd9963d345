"""pack-weights: which operators become kernels, with which weights, and that the numbers stay."""

import logging

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import is_constant, layer_calls
from tvm_split.passes.pack_weights import PackWeights
from tvm_split.passes.schedule.machine import machine_of
from tvm_split.passes.schedule.tiles import tile_of

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "haswell"})
NHWC = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
UNIT = 2.0**-24


def weights(*shape):
    return relax.const(np.random.default_rng(len(shape)).standard_normal(shape).astype("float32"))


def data(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype("float32")


def constants(mod):
    found = []

    def visit(expr):
        if is_constant(expr) and not any(expr.same_as(other) for other in found):
            found.append(expr)

    for function in mod.functions.values():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit)
    return found


def conv2d(x, *kernel, **attrs):
    return relax.op.nn.conv2d(x, weights(*kernel), **attrs, **NHWC)


CASES = {
    "conv2d": ((1, 9, 10, 6), lambda x: conv2d(x, 3, 3, 6, 20, padding=1), 54),
    "stride": ((2, 9, 10, 6), lambda x: conv2d(x, 5, 3, 6, 24, strides=2, padding=[2, 1]), 90),
    "one_sided": ((1, 8, 8, 3), lambda x: conv2d(x, 3, 3, 3, 8, strides=2, padding=[0, 0, 1, 1]), 27),
    "dilated": ((1, 9, 9, 4), lambda x: conv2d(x, 3, 3, 4, 8, dilation=2), 36),
    "grouped": ((1, 6, 6, 16), lambda x: conv2d(x, 3, 3, 8, 24, groups=2, padding=1), 72),
    "depthwise": ((1, 7, 8, 24), lambda x: conv2d(x, 3, 3, 1, 24, groups=24, strides=2, padding=1), 9),
    "one_by_one": ((1, 6, 6, 16), lambda x: conv2d(x, 1, 1, 16, 27), 16),
    "matmul": ((3, 5, 16), lambda x: relax.op.matmul(x, weights(16, 21)), 16),
    "vector": ((1, 40), lambda x: relax.op.matmul(x, weights(40, 1000)), 40),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_kernels_compute_the_same(case, build, apply, operators, run):
    shape, body, terms = CASES[case]
    before = build(lambda emit, x: emit(body(x)), shape)
    after = apply(PackWeights(TARGET), before)
    assert operators(after) == ["call_tir"]
    x = data(*shape)
    largest = max(float(np.abs(constant.value.numpy()).max()) for constant in constants(before))
    bound = 2 * (terms + 1) * UNIT * terms * largest * np.abs(x).max()
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=0, atol=bound)


def test_weights_are_laid_out_in_tiles(build, apply_once):
    before = build(lambda emit, x: emit(conv2d(x, 3, 3, 6, 20, padding=1)), (1, 9, 10, 6))
    (plain,), (packed,) = constants(before), constants(apply_once(PackWeights(TARGET), before))
    tile = tile_of(machine_of(TARGET), 10, 20, 54, "float32")
    array = packed.value.numpy()
    assert array.shape == (-(-20 // tile.channels), 3, 3, 6, tile.channels)
    flat = array.transpose(1, 2, 3, 0, 4).reshape(3, 3, 6, -1)
    np.testing.assert_array_equal(flat[..., :20], plain.value.numpy())
    assert not flat[..., 20:].any()


def test_a_transposed_constant_is_folded(build, apply, operators, run):
    w = weights(21, 16)
    before = build(lambda emit, x: emit(relax.op.matmul(x, emit(relax.op.permute_dims(w)))), (4, 16))
    after = apply(PackWeights(TARGET), before)
    assert operators(after) == ["call_tir"]
    x = data(4, 16)
    bound = 17 * UNIT * np.abs(x) @ np.abs(w.value.numpy().T)
    assert (np.abs(run(after, x) - x.astype("float64") @ w.value.numpy().T) <= bound).all()


def test_shared_weights_are_packed_once(build, apply_once, operators):
    w = weights(16, 16)
    body = lambda emit, x: emit(relax.op.matmul(emit(relax.op.matmul(x, w), "a"), w), "b")  # noqa: E731
    after = apply_once(PackWeights(TARGET), build(body, (4, 16)))
    assert operators(after) == ["call_tir", "call_tir"]
    assert len(constants(after)) == 1


def test_layers_keep_their_names_and_their_activations(build, apply):
    def body(emit, x):
        c = emit(conv2d(x, 3, 3, 6, 20, padding=1), "stem")
        return emit(relax.op.nn.relu(emit(relax.op.add(c, weights(1, 1, 1, 20)))))

    before = FuseActivation()(build(body, (1, 9, 10, 6)))
    after = apply(PackWeights(TARGET), before)
    ((call, layer),) = layer_calls(after)
    assert str(layer.attrs["tvm_split.layer"]) == "stem" and call.value.op.name_hint == "stem"
    values = [binding.value.op.name for block in layer.body.blocks for binding in block.bindings]
    assert values == ["relax.call_tir", "relax.add", "relax.nn.relu"]


@pytest.mark.parametrize(
    ("shapes", "body", "reason"),
    [
        ([(1, 6, 9, 9)], lambda x: relax.op.nn.conv2d(x, weights(8, 6, 3, 3)), "layouts are NCHW, OIHW, NCHW"),
        ([(1, 9, 9, 6), (3, 3, 6, 8)], lambda x, w: relax.op.nn.conv2d(x, w, **NHWC), "no constant weights of float32"),
        ([(1, 9, 9, 6)], lambda x: conv2d(x, 3, 3, 3, 6, groups=2), "no multiple of 4"),
        ([(6,)], lambda x: relax.op.matmul(x, weights(6, 8)), "two or more known dimensions"),
    ],
)
def test_others_stay_and_the_log_says_why(shapes, body, reason, build, caplog):
    before = build(lambda emit, *x: emit(body(*x)), *shapes)
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        assert PackWeights(TARGET)(before).same_as(before)
    assert reason in caplog.text and "nothing to do" in caplog.text
