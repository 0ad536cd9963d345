"""EqualizeLayers: Before and Expected, the same bits afterwards, what must stay, and balance."""

import itertools

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.equalize_layers import EqualizeLayers

W1 = np.array([[8, -2], [0.5, 0.25], [0, 0]], np.float32).reshape(3, 2, 1, 1)
W2 = np.array([[1, -8, 3], [2, 4, 1]], np.float32).reshape(2, 3, 1, 1)
BIAS = np.array([4, 6, 8], np.float32).reshape(1, 3, 1, 1)
S = np.array([2, 0.25, 1], np.float32)  # sqrt(8 * 2) / 2, sqrt(0.5 * 8) / 8, and a channel that nothing makes


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 4, 4), "float32"):
        with R.dataflow():
            h = R.nn.conv2d(x, R.const(W1))
            a = R.add(h, R.const(BIAS))
            r = R.nn.relu(a)
            y = R.nn.conv2d(r, R.const(W2))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 4, 4), "float32"):
        with R.dataflow():
            h = R.nn.conv2d(x, R.const(W1 / S.reshape(3, 1, 1, 1)))
            a = R.add(h, R.const(BIAS / S.reshape(1, 3, 1, 1)))
            r = R.nn.relu(a)
            y = R.nn.conv2d(r, R.const(W2 * S.reshape(1, 3, 1, 1)))
            R.output(y)
        return y


def picture(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exact", [True, False])
def test_the_formula_and_the_names(apply, run, exact):
    result = apply(EqualizeLayers(exact=exact), Before)
    if exact:
        tvm.ir.assert_structural_equal(result, Expected)
    assert [b.var.name for b in result["main"].body.blocks[0].bindings] == ["h", "a", "r", "y"]
    x = picture((1, 2, 4, 4))
    np.testing.assert_allclose(run(result, x), run(Before, x), rtol=0 if exact else 1e-5, atol=0 if exact else 1e-5)


def weights(seed, *shape):
    """Each output channel, and each input channel, of another size."""
    random = np.random.default_rng(seed)
    rows, columns = (2.0 ** random.uniform(-4, 4, (n, *[1] * (len(shape) - 2))) for n in shape[:2])
    return (random.standard_normal(shape) * rows[:, np.newaxis] * columns[np.newaxis]).astype(np.float32)


def between(emit, v, kind, seed):
    channels = int(v.ty.shape[1])
    if "bias" in kind:
        v = emit(relax.op.add(v, relax.const(picture((1, channels, 1, 1), seed))))
    if "scalar" in kind:
        v = emit(relax.op.add(v, relax.const(np.float32(0.5))))
    if "leaky" in kind:
        return emit(relax.op.nn.leakyrelu(v, 0.1))
    return emit(relax.op.nn.relu(v)) if "relu" in kind else v


def row(kinds, channels, seed):
    """1x1, depthwise 3x3, grouped and transposed convolutions in turns."""

    def body(emit, x):
        v = x
        for i, kind in enumerate(kinds):
            now, then = channels[i], channels[i + 1]
            if kind[0] == "depthwise":
                v = emit(relax.op.nn.conv2d(v, relax.const(weights(seed + i, now, 1, 3, 3)), padding=1, groups=now))
            elif kind[0] == "grouped":
                w = weights(seed + i, then, now // 2, 3, 2)
                v = emit(relax.op.nn.conv2d(v, relax.const(w), padding=1, groups=2))
            elif kind[0] == "transposed":
                w = weights(seed + i, now, then, 2, 2)
                v = emit(relax.op.nn.conv2d_transpose(v, relax.const(w), strides=2))
            else:
                v = emit(relax.op.nn.conv2d(v, relax.const(weights(seed + i, then, now, 1, 1))))
            v = between(emit, v, kind[1], seed + i)
        return v

    return body


@st.composite
def rows(draw):
    kinds, channels = [], [2 * draw(st.integers(1, 3))]
    for _ in range(draw(st.integers(2, 4))):
        kind = draw(st.sampled_from(["plain", "depthwise", "grouped", "transposed"]))
        kinds.append((kind, draw(st.sampled_from(["", "bias", "relu", "bias relu", "scalar relu", "bias leaky"]))))
        channels.append(channels[-1] if kind == "depthwise" else 2 * draw(st.integers(1, 4)))
    return kinds, channels, draw(st.integers(0, 99))


def ranges(mod):
    """For each two layers in a row, the largest weights that make and that read each channel."""
    found = []
    for binding in mod["main"].body.blocks[0].bindings:
        value = binding.value
        if value.op.name.startswith("relax.nn.conv"):
            w, groups = np.abs(value.args[1].value.numpy()), int(value.attrs.groups)
            if value.op.name.endswith("transpose"):
                w = w.swapaxes(0, 1)
            blocks = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).max(axis=3)
            found.append((blocks.max(axis=2).ravel(), blocks.max(axis=1).ravel()))
    return [(first[0], second[1]) for first, second in itertools.pairwise(found)]


@settings(max_examples=12, deadline=None)
@given(rows())
def test_any_row_of_layers_keeps_its_bits_and_is_balanced(apply, run, build, drawn):
    kinds, channels, seed = drawn
    mod = build(row(kinds, channels, seed), (1, channels[0], 5, 5))
    result = apply(EqualizeLayers(), mod)
    x = picture((1, channels[0], 5, 5), seed)
    np.testing.assert_array_equal(run(result, x), run(mod, x))
    for made, read in ranges(result):
        assert (np.abs(np.log2(made / read)) <= 2.01).all()
    fine = apply(EqualizeLayers(exact=False), mod)
    want = run(mod, x)
    np.testing.assert_allclose(run(fine, x), want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    for made, read in ranges(fine):
        assert (np.abs(np.log2(made / read)) <= 0.03).all()


def test_a_matmul_after_a_matmul(apply, run, build):
    def body(emit, x):
        h = emit(relax.op.matmul(x, relax.const(weights(1, 6, 5))))
        return relax.op.matmul(emit(relax.op.nn.relu(h)), relax.const(weights(2, 5, 3)))

    mod = build(body, (4, 6))
    result = apply(EqualizeLayers(), mod)
    assert not result.same_as(mod)
    x = picture((4, 6))
    np.testing.assert_array_equal(run(result, x), run(mod, x))


def conv(emit, x, seed=1, channels=2):
    return emit(relax.op.nn.conv2d(x, relax.const(weights(seed, channels, channels, 1, 1))))


def clipped(emit, x):
    return conv(emit, emit(relax.op.clip(conv(emit, x), 0, 6)), 2)


def read_twice(emit, x):
    h = emit(relax.op.nn.relu(conv(emit, x)))
    return relax.op.add(conv(emit, h, 2), h)


def bias_read_twice(emit, x):
    h = conv(emit, x)
    return relax.op.add(conv(emit, emit(relax.op.nn.relu(h)), 2), h)


def sigmoid(emit, x):
    return conv(emit, emit(relax.op.sigmoid(conv(emit, x))), 2)


def bias_of_positions(emit, x):
    return conv(emit, emit(relax.op.add(conv(emit, x), relax.const(picture((1, 1, 4, 4))))), 2)


def weights_from_outside(emit, x, w):
    return conv(emit, emit(relax.op.nn.conv2d(x, w)), 2)


def one_layer(emit, x):
    return conv(emit, x)


@pytest.mark.parametrize(
    "body", [clipped, read_twice, bias_read_twice, sigmoid, bias_of_positions, weights_from_outside, one_layer]
)
def test_what_stays(apply, build, body):
    shapes = ((1, 2, 4, 4), (2, 2, 1, 1)) if body is weights_from_outside else ((1, 2, 4, 4),)
    mod = build(body, *shapes)
    assert apply(EqualizeLayers(), mod).same_as(mod)


def test_it_says_why(apply, build, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    apply(EqualizeLayers(), build(clipped, (1, 2, 4, 4)))
    assert "is a clip, which does not let a factor through" in caplog.text
    assert "EqualizeLayers: nothing to do" in caplog.text
