"""FoldPad: convolutions and pools take the zeros around their input, where that is exact; the rest stays."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, topi
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.fold_pad import FoldPad


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 6, 6), "float32")) -> R.Tensor((1, 3, 7, 9), "float32"):
        with R.dataflow():
            t = R.nn.pad(x, (0, 0, 0, 0, 1, 0, 2, 3))
            y = R.nn.conv2d(t, R.const(np.ones((3, 2, 3, 3), "float32")), padding=(0, 0, 2, 0))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 6, 6), "float32")) -> R.Tensor((1, 3, 7, 9), "float32"):
        with R.dataflow():
            y = R.nn.conv2d(x, R.const(np.ones((3, 2, 3, 3), "float32")), padding=(1, 2, 2, 3))
            R.output(y)
        return y


def padded(layer, shape, before, after, value=0.0, loops=False, ahead=None):
    """A module that pads x and applies `layer`; the pad as an operator, or as loops like the ONNX importer's."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(shape, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            data = builder.emit(ahead(x)) if ahead else x
            if loops:
                t = builder.emit_te(topi.nn.pad, data, list(before), list(after), value)
            else:
                width = [w for pair in zip(before, after, strict=True) for w in pair]
                t = builder.emit(relax.op.nn.pad(data, width, "constant", value))
            y = builder.emit_output(layer(t))
        builder.emit_func_output(y)
    return builder.get()


def conv(channels, layout="NCHW", **options):
    shape = {"OIHW": (3, channels, 3, 3), "HWIO": (3, 3, channels, 3), "OIW": (3, channels, 3)}
    kernel = {"NCHW": "OIHW", "NHWC": "HWIO", "NCW": "OIW"}[layout]
    weight = np.random.default_rng(3).standard_normal(shape[kernel]).astype("float32")
    make = relax.op.nn.conv1d if layout == "NCW" else relax.op.nn.conv2d
    return lambda t: make(t, relax.const(weight), data_layout=layout, kernel_layout=kernel, **options)


def test_conv_takes_the_pad(apply):
    tvm.ir.assert_structural_equal(apply(FoldPad(), Before), Expected)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(
    ("layer", "shape", "before", "after", "value"),
    [
        (conv(2), (1, 2, 5, 6), (0, 0, 1, 2), (0, 0, 0, 3), 0.0),
        (conv(2, "NHWC"), (1, 5, 6, 2), (0, 1, 0, 0), (0, 2, 3, 0), 0.0),
        (conv(2, "NCW", strides=2), (1, 2, 9), (0, 0, 2), (0, 0, 1), 0.0),
        (lambda t: relax.op.nn.avg_pool2d(t, (3, 3), (2, 2)), (1, 2, 7, 7), (0, 0, 1, 1), (0, 0, 1, 1), 0.0),
        (
            lambda t: relax.op.nn.avg_pool2d(t, (3, 3), padding=1, count_include_pad=True),
            (1, 2, 5, 5), (0, 0, 1, 0), (0, 0, 0, 1), 0.0,
        ),
        (lambda t: relax.op.nn.max_pool2d(t, (2, 2), (2, 2)), (1, 2, 5, 5), (0, 0, 1, 0), (0, 0, 0, 1), -np.inf),
        (lambda t: relax.op.nn.max_pool1d(t, 3, 2), (1, 2, 9), (0, 0, 1), (0, 0, 1), -np.inf),
    ],
)  # fmt: skip
def test_same_numbers(apply, run, layer, shape, before, after, value, loops):
    mod = padded(layer, shape, before, after, value, loops)
    result = apply(FoldPad(), mod)
    assert len(result["main"].body.blocks[0].bindings) == 1 and len(result.get_global_vars()) == 1
    x = np.random.default_rng(4).standard_normal(shape).astype("float32")
    np.testing.assert_array_equal(run(mod, x), run(result, x))


def test_max_pool_takes_zeros_after_relu_only(apply, run):
    options = {"shape": (1, 2, 6, 6), "before": (0, 0, 1, 1), "after": (0, 0, 1, 1)}
    pool = lambda t: relax.op.nn.max_pool2d(t, (3, 3), (2, 2))  # noqa: E731
    mod = padded(pool, ahead=relax.op.nn.relu, **options)
    result = apply(FoldPad(), mod)
    assert "nn.pad" not in result.script()
    x = np.random.default_rng(5).standard_normal((1, 2, 6, 6)).astype("float32")
    np.testing.assert_array_equal(run(mod, x), run(result, x))
    bare = padded(pool, **options)
    assert apply(FoldPad(), bare).same_as(bare)


@pytest.mark.parametrize(
    ("layer", "before", "value", "reason"),
    [
        (conv(2), (0, 0, 1, 1), 1.0, "fills with 1.0, expected 0"),
        (conv(4), (0, 2, 0, 0), 0.0, "more than the spatial axes of NCHW"),
        (conv(2), (1, 0, 0, 0), 0.0, "more than the spatial axes of NCHW"),
        (lambda t: relax.op.nn.avg_pool2d(t, (3, 3), padding=1), (0, 0, 1, 1), 0.0, "padding of its own"),
        (lambda t: relax.op.nn.avg_pool2d(t, (3, 3), (2, 2), ceil_mode=True), (0, 0, 1, 1), 0.0, "ceil_mode"),
        (lambda t: relax.op.nn.avg_pool2d(t, (3, 3)), (0, 0, 1, 1), 2.0, "fills with 2.0, expected 0"),
        (lambda t: relax.op.nn.max_pool2d(t, (3, 3), ceil_mode=True), (0, 0, 1, 1), -np.inf, "ceil_mode"),
        (lambda t: relax.op.nn.max_pool2d(t, (3, 3)), (0, 0, 1, 1), 0.0, "expected -infinity, or 0 after a relu"),
    ],
)
def test_what_stays_and_why(apply, caplog, layer, before, value, reason):
    caplog.set_level("INFO", "tvm_split.passes")
    mod = padded(layer, (1, 2, 6, 6), before, (0, 0, 0, 0), value)
    assert apply(FoldPad(), mod).same_as(mod)
    assert reason in caplog.text and "FoldPad: nothing to do" in caplog.text


def test_a_window_in_the_padding_alone_stays(apply, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    pool = lambda t: relax.op.nn.max_pool2d(t, (2, 2))  # noqa: E731
    mod = padded(pool, (1, 2, 6, 6), (0, 0, 2, 0), (0, 0, 0, 0), ahead=relax.op.nn.relu)
    assert apply(FoldPad(), mod).same_as(mod)
    assert "may lie in the padding [2, 0, 0, 0] alone" in caplog.text


@pytest.mark.parametrize("make", [topi.nn.mirror_pad, topi.nn.replicate_pad])
def test_other_pads_stay(apply, make):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 2, 6, 6), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            t = builder.emit_te(make, x, [0, 0, 1, 1], [0, 0, 1, 1], primfunc_name_hint="pad")
            y = builder.emit_output(conv(2)(t))
        builder.emit_func_output(y)
    mod = builder.get()
    assert apply(FoldPad(), mod).same_as(mod)


def test_transposed_convolution_stays(apply):
    weight = relax.const(np.ones((2, 3, 3, 3), "float32"))
    mod = padded(lambda t: relax.op.nn.conv2d_transpose(t, weight), (1, 2, 6, 6), (0, 0, 1, 1), (0, 0, 1, 1))
    assert apply(FoldPad(), mod).same_as(mod)


@settings(max_examples=15, deadline=None)
@given(
    before=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    after=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    own=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.integers(1, 2),
    loops=st.booleans(),
)
def test_same_numbers_for_any_pad(apply, run, before, after, own, strides, dilation, loops):
    layer = conv(2, strides=strides, padding=own, dilation=dilation)
    mod = padded(layer, (1, 2, 6, 7), (0, 0, *before), (0, 0, *after), loops=loops)
    result = apply(FoldPad(), mod)
    if any(before + after):
        assert len(result["main"].body.blocks[0].bindings) == 1
    x = np.random.default_rng(6).standard_normal((1, 2, 6, 7)).astype("float32")
    np.testing.assert_array_equal(run(mod, x), run(result, x))
