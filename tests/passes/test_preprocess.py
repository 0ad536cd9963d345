"""Preprocess: Before and Expected, the numbers against NumPy, and the inputs that it must refuse."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.errors import ModelError
from tvm_split.frontend.preprocess_spec import BUILT_IN, PreprocessSpec
from tvm_split.passes.preprocess import Preprocess


@I.ir_module
class Before:
    @R.function
    def main(image: R.Tensor((1, 3, 2, 4), "float32")) -> R.Tensor((1, 3, 2, 4), "float32"):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            y = R.nn.relu(image)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(image: R.Tensor((1, 2, 4, 3), "uint8")) -> R.Tensor((1, 3, 2, 4), "float32"):
        R.func_attr({"num_input": 1})
        with R.dataflow():
            swap = R.flip(image, axis=3)
            cast = R.astype(swap, "float32")
            shift = R.subtract(cast, R.const(np.array([104, 117, 123], "float32")))
            layout = R.permute_dims(shift, [0, 3, 1, 2])
            y = R.nn.relu(layout)
            R.output(y)
        return y


def identity(shape, dtype="float32", names=("image",)):
    """x -> x + 0, so that a test sees what the network is given."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(name, relax.TensorType(shape, dtype)) for name in names]
    with builder.function("main", inputs):
        with builder.dataflow():
            out = builder.emit_output(relax.op.add(inputs[-1], relax.const(np.zeros((), dtype))))
        builder.emit_func_output(out)
    return builder.get()


def test_expected(apply_once):
    tvm.ir.assert_structural_equal(apply_once(Preprocess(PreprocessSpec.named("plate")), Before), Expected)


CHANNEL = st.tuples(*[st.floats(-300, 300, width=32)] * 3)
DEVIATION = st.tuples(*[st.floats(0.125, 300, width=32)] * 3)


@settings(max_examples=15, deadline=None)
@given(
    spec=st.builds(
        PreprocessSpec,
        mean=CHANNEL,
        std=DEVIATION,
        scale=st.sampled_from([1.0, 1 / 255, 2.0]),
        channels=st.sampled_from(["rgb", "bgr"]),
    ),
    layout=st.sampled_from(["NCHW", "NHWC"]),
    height=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_within_the_bound_of_the_docstring(apply_once, run, spec, layout, height, seed):
    before = identity((1, 3, height, 7) if layout == "NCHW" else (1, height, 7, 3))
    mod = apply_once(Preprocess(replace(spec, layout=layout)), before)
    frame = np.random.default_rng(seed).integers(0, 256, (1, height, 7, 3)).astype(np.uint8)
    x = (frame[..., ::-1] if spec.channels == "bgr" else frame).astype(np.float64)
    want = (x * spec.scale - spec.mean) / spec.std
    unit = 2.0**-24
    bound = 2 * unit * (np.abs(x * spec.multiplier) + np.abs(spec.offset)) + unit * np.abs(want) + 2.0**-149
    got = run(mod, frame)
    got = got.transpose(0, 2, 3, 1) if layout == "NCHW" else got
    assert (np.abs(got - want) <= bound * (1 + 1e-6)).all()


def test_exact_where_the_constants_are(run):
    frame = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    got = run(Preprocess(PreprocessSpec.named("efficientnet-lite0"))(identity((1, 3, 16, 16))), frame)
    np.testing.assert_array_equal(got, ((frame.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))


def test_one_picture_among_several_inputs():
    mod = identity((1, 3, 4, 4), names=("left", "right"))
    with pytest.raises(
        ModelError, match=r"there is no input that alone is a picture; name one; the inputs are left: .*right: "
    ):
        Preprocess(BUILT_IN["imagenet"])(mod)
    after = Preprocess(BUILT_IN["imagenet"], name="right")(mod)
    assert [str(parameter.ty.dtype) for parameter in after["main"].params] == ["float32", "uint8"]


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [
        ((1, 4, 8, 8), "float32", "auto"),
        ((1, 3), "float32", "auto"),
        ((1, 3, 8, 8), "uint8", "auto"),
        ((1, 3, 8, 8), "float32", "NHWC"),
    ],
)
def test_an_input_that_is_no_picture_is_refused(shape, dtype, layout):
    spec = PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1), layout=layout)
    with pytest.raises(ModelError, match=r"input 'image' has the type .* needs floats of shape"):
        Preprocess(spec)(identity(shape, dtype))


def test_a_spec_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('mean = [1, 2, 3]\nstd = [1, 1, 2.5]\nscale = 0.5\nchannels = "bgr"\n')
    assert PreprocessSpec.named(path) == PreprocessSpec((1.0, 2.0, 3.0), (1.0, 1.0, 2.5), 0.5, "bgr", "auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean = [0, 0, 0]", r"missing: std, scale, channels\. A file gives mean, std, scale, channels, layout"),
        ("means = [0, 0, 0]\nsdt = 1", r"unknown: means, sdt; missing: mean, std, scale, channels\. A file gives "),
        ('mean = [0, 0]\nstd = [1, 1, 1]\nscale = 1\nchannels = "rgb"', r"mean is \[0, 0\]; it takes three"),
        ('mean = [0, 0, 0]\nstd = [1, 0, 1]\nscale = 1\nchannels = "rgb"', "no channel may be divided by 0"),
        ('mean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = 0\nchannels = "rgb"', "scale is 0"),
        ('mean = [0, 0, 0]\nstd = [1, 1, nan]\nscale = 1\nchannels = "rgb"', "std is .*finite"),
        ('mean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = 1\nchannels = "gbr"', "channels is 'gbr'; it takes rgb, bgr"),
        ("mean = [", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ModelError, match=rf"mine\.toml: .*{message}"):
        PreprocessSpec.named(path)


def test_the_example_in_the_error_is_a_file_that_works(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("")
    with pytest.raises(ModelError) as error:
        PreprocessSpec.named(path)
    path.write_text(str(error.value).split("for example:\n")[1])
    spec = PreprocessSpec.named(path)
    assert replace(spec, scale=1 / 255) == BUILT_IN["imagenet"] and spec.scale == 1 / 255
    lines = [line.split("=")[0].strip() for line in PreprocessSpec.__doc__.splitlines() if " = " in line]
    assert {"mean", "std", "scale", "channels", "layout"} <= set(lines)


def test_channels_and_layout_in_any_case():
    spec = PreprocessSpec((0, 0, 0), (1, 1, 1), channels="BGR", layout="nchw")
    assert (spec.channels, spec.layout) == ("bgr", "NCHW")
    assert PreprocessSpec((0, 0, 0), (1, 1, 1), layout="Auto").layout == "auto"


def test_the_layout_is_the_networks():
    spec = PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1), layout="NHWC")
    message = r"needs floats of shape \(N, H, W, 3\); layout is the network's: this network reads NCHW"
    with pytest.raises(ModelError, match=message):
        Preprocess(spec)(identity((1, 3, 8, 8)))


def test_unknown_names():
    with pytest.raises(ModelError, match=r"no preprocessing 'imagnet'; did you mean 'imagenet'"):
        PreprocessSpec.named("imagnet")
    with pytest.raises(ModelError, match=r"missing\.toml: cannot be read"):
        PreprocessSpec.named("missing.toml")
