"""LowerQdq: the integer network equals exact arithmetic in NumPy, and the float reading of it to one code."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import pipeline
from tvm_split.passes.lower_qdq import LowerQdq
from tvm_split.passes.qdq_arithmetic import along, integer_bias
from tvm_split.passes.qdq_values import Fixed, Steps

EXAMPLES = settings(max_examples=12, deadline=None)


@dataclass
class Layer:
    """A quantised convolution, or a product where `kernel` is 0, with random integers."""

    batch: int
    channels: int
    outputs: int
    groups: int
    size: int
    kernel: int
    stride: int
    padding: tuple[int, int, int, int]
    per_channel: bool
    with_bias: bool
    bound: tuple[float, float] | None
    zeros: tuple[int, int]
    dtype: str
    seed: int

    def __post_init__(self):
        random = np.random.default_rng(self.seed)
        low, high = (0, 255) if self.dtype == "uint8" else (-128, 127)
        data = (self.batch, self.channels) + (self.size, self.size) * (self.kernel > 0)
        self.x = random.integers(low, high + 1, data).astype(self.dtype)
        inner = self.channels // self.groups
        shape = (self.outputs, inner, self.kernel, self.kernel) if self.kernel else (inner, self.outputs)
        self.axis = 0 if self.kernel else 1
        self.w = random.integers(-128, 128, shape).astype("int8")
        self.sx = np.float32(random.uniform(0.01, 0.2))
        count = self.outputs if self.per_channel else ()
        self.sw = np.asarray(random.uniform(0.001, 0.02, count), "float32")
        terms = self.w.size // self.outputs
        self.bias = random.integers(-99, 100, self.outputs).astype("int32") * int(1 + 10 * terms**0.5)
        self.sy = np.float32(self.sx * self.sw.mean() * 74 * terms**0.5)
        self.zx, self.zy = (zero - (128 if self.dtype == "int8" else 0) for zero in self.zeros)

    def module(self, quantized=True):
        def const(array, dtype):
            return relax.const(np.asarray(array, dtype))

        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType(self.x.shape, self.dtype))
        emit = builder.emit
        with builder.function("main", [x]):
            with builder.dataflow():
                data = emit(relax.op.dequantize(x, const(self.sx, "float32"), const(self.zx, self.dtype), 0))
                none = const(np.zeros(self.sw.shape), "int8")
                weight = emit(relax.op.dequantize(const(self.w, "int8"), const(self.sw, "float32"), none, self.axis))
                made = emit(self.operator(data, weight))
                if self.with_bias:
                    scale = self.sx * self.sw
                    none = const(np.zeros(scale.shape), "int32")
                    bias = emit(relax.op.dequantize(const(self.bias, "int32"), const(scale, "float32"), none, 0))
                    bias = emit(relax.op.reshape(bias, (1, self.outputs) + (1, 1) * (self.kernel > 0)))
                    made = emit(relax.op.add(made, bias))
                if self.bound:
                    made = emit(relax.op.clip(made, *self.bound))
                if quantized:
                    scale, zero = const(self.sy, "float32"), const(self.zy, self.dtype)
                    made = emit(relax.op.quantize(made, scale, zero, 0, self.dtype))
                out = builder.emit_output(made)
            builder.emit_func_output(out)
        return builder.get()

    def operator(self, data, weight):
        if not self.kernel:
            return relax.op.matmul(data, weight)
        return relax.op.nn.conv2d(data, weight, strides=self.stride, padding=self.padding, groups=self.groups)

    def sums(self):
        """Of (x - zx) * w, and the bias, in int64."""
        x, w = self.x.astype("int64") - self.zx, self.w.astype("int64")
        if not self.kernel:
            return x @ w + self.bias * self.with_bias
        top, left, bottom, right = self.padding
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.kernel, self.kernel), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride]
        inner, outer = self.channels // self.groups, self.outputs // self.groups
        parts = [
            np.einsum("nihwkl,oikl->nohw", windows[:, g * inner : (g + 1) * inner], w[g * outer : (g + 1) * outer])
            for g in range(self.groups)
        ]
        return np.concatenate(parts, 1) + (self.bias * self.with_bias).reshape(1, -1, 1, 1)

    def of_channels(self, array):
        return array if array.ndim == 0 or not self.kernel else array.reshape(-1, 1, 1)

    def limited(self, codes):
        info = np.iinfo(self.dtype)
        low, high = info.min, info.max
        if self.bound:
            ends = np.rint(np.asarray(self.bound, "float32") / self.sy) + self.zy
            low, high = np.clip(ends, low, high)
        return np.clip(codes, low, high)

    def exact(self):
        """The codes: sums in int64, then float32, as the pass's docstring says."""
        scale = self.of_channels(self.sx * self.sw / self.sy)
        return self.limited(np.rint(self.sums().astype("float32") * scale) + np.float32(self.zy)).astype(self.dtype)

    def reals(self):
        """The codes before they are rounded, in float64."""
        scale = self.of_channels(self.sw.astype("float64")) * self.sx / self.sy
        return self.limited(self.sums() * scale + self.zy)


@st.composite
def layers(draw):
    kernel = draw(st.sampled_from([0, 1, 2, 3]))
    inner, outer = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    groups = draw(st.sampled_from([1, 1, 3])) if kernel else 1
    if groups > 1 and draw(st.booleans()):
        inner = 1  # depthwise
    codes = st.integers(0, 255)
    bound = draw(st.sampled_from([None, (0.0, 6.0), (0.0, 1e30), (-1.0, 1.0)]))
    return Layer(
        draw(st.integers(1, 3)), inner * groups, outer * groups, groups, draw(st.integers(max(kernel, 1), 9)), kernel,
        draw(st.integers(1, 3)), draw(st.tuples(*[st.integers(0, 2)] * 4)), draw(st.booleans()), draw(st.booleans()),
        bound, (draw(codes), draw(codes)), draw(st.sampled_from(["uint8", "int8"])), draw(st.integers(0, 2**32 - 1)),
    )  # fmt: skip


@EXAMPLES
@given(layers())
def test_a_layer_is_exact_and_within_a_code_of_the_float_reading(run_layers, layer):
    mod = pipeline.layers()(layer.module())
    kinds = [str(f.attrs["Composite"]) for f in mod.functions.values() if "Composite" in (f.attrs or {})]
    assert any("conv2d" in kind or "matmul" in kind for kind in kinds)
    (found,) = run_layers(mod, layer.x)
    np.testing.assert_array_equal(found, layer.exact())
    assert np.abs(found - layer.reals()).max() <= 0.51


@EXAMPLES
@given(layers())
def test_a_float_result_is_the_exact_sum_times_the_scale(run, layer):
    layer.bound = None
    mod = layer.module(quantized=False)
    found = run(LowerQdq()(mod), layer.x)
    np.testing.assert_array_equal(found, layer.sums().astype("float32") * layer.of_channels(layer.sx * layer.sw))


@given(st.floats(1e-3, 10), st.integers(0, 255), st.floats(-3000, 3000, width=32))
def test_the_code_of_a_number_is_the_nearest(scale, zero, value):
    steps = Steps(np.float32(scale), zero)
    code = steps.code(value)
    assert 0 <= code <= 255
    assert steps.code(float(steps.value(code))) == code
    nearest = np.clip(value / float(steps.scale) + zero, 0, 255)
    assert abs(code - nearest) <= 0.5 + 1e-3


@given(st.integers(-(2**22), 2**22), st.floats(1e-6, 1))
def test_a_bias_of_whole_steps_is_found_again(steps, scale):
    scale = np.array([scale], "float32")
    assert integer_bias(np.float32(steps) * scale, scale) == steps
    codes = Fixed(np.array([2**31 - 1 - abs(steps)], "int32"), scale, np.zeros((), "int32"))
    assert integer_bias(codes, scale * np.float32(1 + 2**-23)) == codes.codes, "not rounded through float32"


def test_a_bias_between_steps_is_none():
    assert integer_bias(np.array([0.15], "float32"), np.array([0.1], "float32")) is None


def test_along():
    array = np.arange(6).reshape(2, 3)
    assert along(array, 0) is None
    np.testing.assert_array_equal(along(np.broadcast_to(array[:1], (4, 3)), 1), [0, 1, 2])
    np.testing.assert_array_equal(along(np.full((1, 1), 5), 1), [5])


class Tflite:
    """A network as TVM's TFLite importer spells it: NHWC, int8, zero points int32, clips of codes, weights reshaped."""

    def __init__(self):
        random = np.random.default_rng(3)
        self.x = random.integers(-128, 128, (1, 7, 6, 4)).astype("int8")
        self.w = random.integers(-127, 128, (3, 3, 4, 8)).astype("int8")  # HWIO
        self.d = random.integers(-127, 128, (1, 3, 3, 8)).astype("int8")  # depthwise, one axis of all channels
        self.sw, self.sd = (random.uniform(0.002, 0.01, 8).astype("float32") for _ in range(2))
        self.bias = random.integers(-3000, 3000, 8).astype("int32")
        self.steps = [(np.float32(0.05), -3), (np.float32(0.2), -128), (np.float32(0.3), 11)]

    def module(self):
        def const(array, dtype):
            return relax.const(np.asarray(array, dtype))

        def dequantize(x, scale, zero, axis=3):
            return emit(relax.op.dequantize(x, const(scale, "float32"), const(zero, "int32"), axis))

        def quantize(x, scale, zero):
            codes = emit(relax.op.quantize(x, const(scale, "float32"), const(zero, "int32"), 0, "int8"))
            return emit(relax.op.clip(codes, max(-128, zero), min(127, round(6 / scale) + zero)))  # relu6 of codes

        builder = relax.BlockBuilder()
        emit = builder.emit
        x = relax.Var("x", relax.TensorType(self.x.shape, "int8"))
        (sx, zx), (sa, za), (sb, zb) = self.steps
        with builder.function("main", [x]):
            with builder.dataflow():
                weight = dequantize(const(self.w, "int8"), self.sw, np.zeros(8))
                made = emit(relax.op.nn.conv2d(dequantize(x, sx, zx), weight, padding=[1, 1, 1, 1],
                                               data_layout="NHWC", kernel_layout="HWIO"))  # fmt: skip
                bias = dequantize(const(self.bias, "int32"), sx * self.sw, np.zeros(8), 0)
                a = quantize(emit(relax.op.add(made, bias)), sa, za)
                weight = emit(relax.op.reshape(dequantize(const(self.d, "int8"), self.sd, np.zeros(8)), (3, 3, 8, 1)))
                made = relax.op.nn.conv2d(dequantize(a, sa, za), weight, strides=2, groups=8,
                                          data_layout="NHWC", kernel_layout="HWOI")  # fmt: skip
                b = quantize(emit(made), sb, zb)
                pooled = emit(relax.op.nn.max_pool2d(b, (2, 2), layout="NHWC"))
                out = builder.emit_output(relax.op.reshape(pooled, (1, 16)))
            builder.emit_func_output(out)
        return builder.get()

    def codes(self, sums, scale, to):
        sy, zy = self.steps[to]
        level = np.rint(sums.astype("float32") * np.asarray(scale / sy, "float32")) + zy
        return np.clip(level, max(-128, zy), min(127, round(6 / sy) + zy)).astype("int64")

    def exact(self):
        (sx, zx), (sa, za), _ = self.steps
        x = np.pad(self.x.astype("int64") - zx, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        sums = np.einsum("nhwikl,klio->nhwo", windows, self.w.astype("int64")) + self.bias
        a = self.codes(sums, sx * self.sw, 1) - za
        windows = np.lib.stride_tricks.sliding_window_view(a, (3, 3), axis=(1, 2))[:, ::2, ::2]
        sums = np.einsum("nhwckl,klc->nhwc", windows, self.d[0].astype("int64"))
        b = self.codes(sums, sa * self.sd, 2)
        pooled = np.lib.stride_tricks.sliding_window_view(b, (2, 2), axis=(1, 2)).max(axis=(-2, -1))
        return pooled.reshape(1, -1).astype("int8")


def test_a_network_as_the_tflite_importer_spells_it(run_layers):
    network = Tflite()
    mod = pipeline.layers()(network.module())
    kinds = [str(f.attrs["Composite"]) for f in mod.functions.values() if "Composite" in (f.attrs or {})]
    assert sum("conv2d" in kind for kind in kinds) == 2
    assert not any("dequantize" in kind for kind in kinds)
    (found,) = run_layers(mod, network.x)
    np.testing.assert_array_equal(found, network.exact())
