"""LowerQdq: Before and Expected of a convolution, then what becomes of each pattern beside it, and what stays."""

import numpy as np
import pytest
import tvm
from tvm import relax, topi
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.lower_qdq import LowerQdq

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.integers(-127, 128, (3, 2, 3, 3)).astype("int8")
BIAS = np.array([7, -2000, 300], "int32")
SX, SW, SY = np.float32(0.05), np.array([0.01, 0.02, 0.005], "float32"), np.float32(0.125)
ZX, ZY = -3, -128
OFFSET = BIAS - (ZX + 128) * WEIGHT.sum(axis=(1, 2, 3), dtype="int32")


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 5, 5), "float32")) -> R.Tensor((1, 3, 5, 5), "float32"):
        with R.dataflow():
            xq = R.quantize(x, R.const(SX), R.const(np.int8(ZX)), axis=1, out_dtype="int8")
            d = R.dequantize(xq, R.const(SX), R.const(np.int8(ZX)), axis=1)
            w = R.dequantize(R.const(WEIGHT), R.const(SW), R.const(np.zeros(3, "int8")), axis=0)
            q = R.dequantize(R.const(BIAS), R.const(SX * SW), R.const(np.zeros(3, "int32")), axis=0)
            c = R.nn.conv2d(d, w, padding=[1, 1, 1, 1])
            b = R.reshape(q, (1, 3, 1, 1))
            a = R.add(c, b)
            r = R.nn.relu(a)
            yq = R.quantize(r, R.const(SY), R.const(np.int8(ZY)), axis=1, out_dtype="int8")
            y = R.dequantize(yq, R.const(SY), R.const(np.int8(ZY)), axis=1)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 5, 5), "float32")) -> R.Tensor((1, 3, 5, 5), "float32"):
        with R.dataflow():
            xq = R.quantize(x, R.const(SX), R.const(np.uint8(ZX + 128)), axis=0, out_dtype="uint8")
            p = R.nn.pad(xq, [0, 0, 0, 0, 1, 1, 1, 1], "constant", float(ZX + 128))
            c = R.nn.conv2d(p, R.const(WEIGHT), out_dtype="int32")
            s = R.add(c, R.const(OFFSET.reshape(3, 1, 1)))
            f = R.astype(s, "float32")
            m = R.multiply(f, R.const((SX * SW / SY).reshape(3, 1, 1)))
            r = R.round(m)
            k = R.clip(r, 0, 255)
            yq = R.astype(k, "uint8")
            y = R.dequantize(yq, R.const(SY), R.const(np.uint8(ZY + 128)), axis=0)
            R.output(y)
        return y


def test_before_and_expected(apply):
    lowered = apply(LowerQdq(), Before)
    tvm.ir.assert_structural_equal(lowered, Expected)


def const(array, dtype=None):
    return relax.const(np.asarray(array, dtype))


class Net:
    """`main` of quantised parts; every tensor that is not a parameter is bound in order."""

    def __init__(self, *shapes, dtype="float32"):
        self.builder = relax.BlockBuilder()
        self.params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]

    def module(self, body):
        with self.builder.function("main", self.params):
            with self.builder.dataflow():
                out = body(self, *self.params)
                out = relax.Tuple(out) if isinstance(out, tuple) else out
                out = self.builder.emit_output(out)
            self.builder.emit_func_output(out)
        return self.builder.get()

    def emit(self, value, name="t"):
        return self.builder.emit(value, name)

    def q(self, x, scale=0.05, zero=10, dtype="uint8"):
        return self.emit(relax.op.quantize(x, const(scale, "float32"), const(zero, dtype), 0, dtype), "q")

    def d(self, x, scale=0.05, zero=10, dtype="uint8", axis=0):
        zero = np.broadcast_to(np.asarray(zero, dtype), np.shape(scale))
        return self.emit(relax.op.dequantize(x, const(scale, "float32"), const(zero, dtype), axis), "d")

    def qd(self, x, *args):
        return self.d(self.q(x, *args), *args)

    def w(self, shape=(3, 2, 3, 3), scale=0.01, zero=0, dtype="int8", axis=0, value=None):
        info = np.iinfo(dtype)
        array = RANDOM.integers(info.min, info.max + 1, shape) if value is None else np.full(shape, value)
        return self.d(const(array, dtype), scale, zero, dtype, axis)

    def conv(self, x, weight, **attrs):
        return self.emit(relax.op.nn.conv2d(x, weight, **attrs), "c")


SHAPE = (1, 2, 5, 5)


@pytest.fixture
def lowered(apply, operators):
    """The names of the operators, in order, and the module."""

    def lower(body, *shapes, dtype="float32"):
        mod = Net(*(shapes or [SHAPE]), dtype=dtype).module(body)
        found = apply(LowerQdq(), mod)
        return operators(found), found

    return lower


SUMS = ["quantize", "conv2d", "add", "astype", "multiply"]
CODES = ["round", "add", "clip", "astype"]


def test_sums_that_are_not_quantised_again_become_float(lowered):
    names, _ = lowered(lambda n, x: n.conv(n.qd(x), n.w()))
    assert names == SUMS


@pytest.mark.parametrize("dtype, zero", [("int8", 0), ("uint8", 128)])
def test_weights_of_zero_point_0_in_int8(lowered, dtype, zero):
    names, mod = lowered(lambda n, x: n.qd(n.conv(n.qd(x), n.w(dtype=dtype, zero=zero)), 0.1, 3))
    assert names == [*SUMS, *CODES, "dequantize"]
    assert str(values(mod)[1].args[1].ty.dtype) == "int8"


@pytest.mark.parametrize(
    "why, weight",
    [
        ("a zero point that int8 cannot have as 0", {"dtype": "uint8", "zero": 100}),
        ("a zero point that int8 cannot have as 0", {"zero": 1}),
        ("along another axis", {"scale": np.array([0.01, 0.02]), "axis": 1}),
        ("may leave int32", {"shape": (1, 70000, 1, 1), "value": 127}),
    ],
)
def test_layers_that_stay_in_float(lowered, caplog, why, weight):
    caplog.set_level("INFO", "tvm_split.passes")
    shape = (1, weight.get("shape", (3, 2))[1], 5, 5)
    names, mod = lowered(lambda n, x: n.qd(n.conv(n.qd(x), n.w(**weight)), 0.1, 3), shape)
    stored = ["dequantize"] if "leave int32" in why else []  # int8 with scales of output channels stays int8
    assert names == ["quantize", "dequantize", *stored, "conv2d", "quantize", "dequantize"]
    assert why in caplog.text
    assert str(values(mod)[2].args[1].ty.dtype) == "float32", "its weights are floats by then"


def test_depthwise_and_matmul(lowered):
    names, _ = lowered(lambda n, x: n.conv(n.qd(x), n.w((4, 1, 3, 3)), groups=2))
    assert names == SUMS
    names, mod = lowered(lambda n, x: n.emit(relax.op.matmul(n.qd(x), n.w((6, 4), scale=[0.1] * 4, axis=1))), (3, 6))
    assert names == ["quantize", "matmul", "add", "astype", "multiply"]
    assert values(mod)[1].args[1].ty.shape.values[1] == 4


def test_transposed_weights_and_reshaped_bias(lowered):
    def gemm(n, x):
        weight = n.emit(relax.op.permute_dims(n.w((4, 6), scale=np.full(4, 0.02))))
        bias = n.d(const([1, 2, 3, 4], "int32"), np.full(4, np.float32(0.05) * np.float32(0.02)), 0, "int32")
        return n.emit(relax.op.add(n.emit(relax.op.reshape(bias, (1, 4))), n.emit(relax.op.matmul(n.qd(x), weight))))

    names, mod = lowered(gemm, (3, 6))
    assert names == ["quantize", "matmul", "add", "astype", "multiply"]
    assert values(mod)[2].args[1].ty.dtype == "int32"


@pytest.mark.parametrize("bias, kept", [(np.float32(0.05) * np.float32(0.01) * 40, False), (0.12345, True)])
def test_a_float_bias_that_is_no_whole_number_of_steps_is_added_after_the_scale(lowered, bias, kept):
    names, _ = lowered(lambda n, x: n.emit(relax.op.add(n.conv(n.qd(x), n.w()), const(bias, "float32"))))
    assert names == SUMS + ["add"] * kept


def test_a_bias_beyond_int32_is_added_in_float(lowered):
    scale = np.float32(0.05) * np.float32(0.01)

    def body(n, x):
        bias = n.d(const(np.full((1, 3, 1, 1), 2**31 - 9), "int32"), scale, 0, "int32")
        return n.emit(relax.op.add(n.conv(n.qd(x), n.w()), bias))

    assert lowered(body)[0] == [*SUMS, "add"]


@pytest.mark.parametrize("zero, low", [(0, 0), (30, 30)])
def test_relu_becomes_a_bound_of_the_codes(lowered, zero, low):
    names, mod = lowered(lambda n, x: n.q(n.emit(relax.op.nn.relu(n.conv(n.qd(x), n.w()))), 0.1, zero))
    assert names == [*SUMS, "round", *["add"] * (zero > 0), "clip", "astype"]
    assert [arg.value for arg in values(mod)[-2].args[1:]] == [low, 255]


@pytest.mark.parametrize("scale, high", [(6 / 255, 255), (0.05, 120)])
def test_relu6_becomes_a_bound_of_the_codes(lowered, scale, high):
    _, mod = lowered(lambda n, x: n.q(n.emit(relax.op.clip(n.conv(n.qd(x), n.w()), 0, 6)), scale, 0))
    assert [arg.value for arg in values(mod)[-2].args[1:]] == [0, high]


def test_another_activation_works_on_floats(lowered):
    names, _ = lowered(lambda n, x: n.q(n.emit(relax.op.nn.leakyrelu(n.conv(n.qd(x), n.w()))), 0.1, 3))
    assert names == [*SUMS, "leakyrelu", "quantize"]


def test_a_bounding_activation_that_is_read_as_floats_stays(lowered):
    names, _ = lowered(lambda n, x: n.emit(relax.op.exp(n.emit(relax.op.nn.relu(n.conv(n.qd(x), n.w()))))))
    assert names == [*SUMS, "relu", "exp"]


MOVES = {
    "reshape": lambda x: relax.op.reshape(x, (2, 25)),
    "permute_dims": lambda x: relax.op.permute_dims(x),
    "max_pool2d": lambda x: relax.op.nn.max_pool2d(x, (2, 2), padding=(1, 1)),
    "strided_slice": lambda x: relax.op.strided_slice(x, [2], [1], [4]),
    "resize2d": lambda x: relax.op.image.resize2d(x, (10, 10), method="nearest_neighbor"),
    "pad": lambda x: relax.op.nn.pad(x, [0, 0, 0, 0, 1, 1, 1, 1], "constant", 0.0),
    "concat": lambda x: relax.op.concat([x, x], 1),
    "expand_dims": lambda x: relax.op.expand_dims(x, 0),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_works_on_codes(lowered, run, name):
    def body(n, x):
        return n.qd(n.emit(MOVES[name](n.qd(x))))

    names, mod = lowered(body)
    assert names == ["quantize", name, "dequantize"]
    x = RANDOM.standard_normal(SHAPE).astype("float32") * 10
    np.testing.assert_array_equal(run(mod, x), run(Net(SHAPE).module(body), x))


def test_a_pad_with_a_number_that_no_code_stands_for_stays(lowered):
    names, _ = lowered(lambda n, x: n.qd(n.emit(relax.op.nn.pad(n.qd(x), [0, 0] * 3 + [1, 1], "constant", 0.02))))
    assert names == ["quantize", "dequantize", "pad", "quantize", "dequantize"]


@pytest.mark.parametrize("loops", [False, True])
def test_zeros_around_the_data_are_put_by_the_convolution(lowered, run, loops):
    def body(n, x):
        width = [(0, 0, 0, 0, 1, 2, 0, 1), ((0, 0, 1, 0), (0, 0, 2, 1))]
        data = n.qd(x)
        wide = (
            n.builder.emit_te(topi.nn.pad, data, *width[1], 0.0) if loops else n.emit(relax.op.nn.pad(data, width[0]))
        )
        return n.conv(n.qd(wide), n.w(value=3), padding=(1, 1))

    names, mod = lowered(body)
    assert names == ["quantize", "pad", *SUMS[1:]]
    assert [int(each) for each in values(mod)[1].attrs.pad_width] == [0, 0, 0, 0, 2, 3, 1, 2]
    x = RANDOM.standard_normal(SHAPE).astype("float32")
    np.testing.assert_allclose(run(mod, x), run(Net(SHAPE).module(body), x), rtol=1e-5, atol=1e-4)


def test_concat_of_different_scales_stays_in_float(lowered):
    names, _ = lowered(lambda n, x: n.qd(n.emit(relax.op.concat([n.qd(x), n.qd(x, 0.07, 3)], 1))))
    assert names == [*["quantize"] * 2, *["dequantize"] * 2, "concat", "quantize", "dequantize"]


def test_parts_of_a_split_are_codes(lowered):
    def body(n, x):
        parts = n.emit(relax.op.split(n.qd(x), 2, 1))
        return n.qd(n.emit(relax.TupleGetItem(parts, 1)))

    assert lowered(body)[0] == ["quantize", "split", "dequantize"]


def test_quantize_after_dequantize(lowered):
    assert lowered(lambda n, x: n.q(n.qd(x)))[0] == ["quantize"]
    assert lowered(lambda n, x: n.q(n.qd(x), 0.07, 10))[0] == ["quantize", "dequantize", "quantize"]


def test_an_activation_that_cuts_nothing_off_disappears(lowered):
    assert lowered(lambda n, x: n.q(n.emit(relax.op.nn.relu(n.qd(x, 0.05, 0))), 0.05, 0))[0] == ["quantize"]
    assert "relu" in lowered(lambda n, x: n.q(n.emit(relax.op.nn.relu(n.qd(x)))))[0]


def test_int8_at_the_ends_of_the_network_stays(lowered, run):
    def body(n, x):
        return n.q(n.conv(n.d(x, 0.05, 3, "int8"), n.w(value=5)), 0.5, -20, "int8")

    names, mod = lowered(body, dtype="int8")
    into, out = ["astype", "add", "astype"], ["astype", "subtract", "astype"]
    assert names == [*into, "conv2d", "add", "astype", "multiply", *CODES, *out]
    x = RANDOM.integers(-128, 128, SHAPE).astype("int8")
    floats = run(Net(SHAPE, dtype="int8").module(body), x)
    np.testing.assert_allclose(run(mod, x), floats, rtol=0, atol=1)  # a code, where sums lie between two


def test_one_sum_quantised_twice_alike_is_quantised_once(lowered):
    def body(n, x):
        made = n.conv(n.qd(x), n.w())
        return n.q(made), n.q(made)

    assert lowered(body)[0] == [*SUMS, *CODES]


def test_a_float_network_stays(apply, build, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    mod = build(lambda emit, x: emit(relax.op.nn.relu(x), "r"), SHAPE)
    assert LowerQdq()(mod).same_as(mod)
    assert "nothing to do" in caplog.text


def values(mod):
    return [binding.value for block in mod["main"].body.blocks for binding in block.bindings]
