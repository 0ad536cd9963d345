"""AnnotatePrecision and QuantizeLayers: the QDQ form, what stays, groups of one quantiser, numbers after lower-qdq."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract
from tvm_split.errors import PlanError
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.bindings import operator
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import layer_calls
from tvm_split.passes.lower_qdq import LowerQdq
from tvm_split.passes.partition import Partition
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.passes.quantize_layers import QuantizeLayers
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.quantizer import Quantizer

CODES = np.array([[[[127]], [[-64]]], [[[127]], [[64]]]], "int8")
SCALES = np.array([2.0**-7, 2.0**-9], "float32")
WEIGHT = CODES * SCALES.reshape(2, 1, 1, 1)
BIAS = np.array([0.5, -0.25], "float32").reshape(1, 2, 1, 1)
X, H = Quantizer(8, 0.125, 16), Quantizer(4, 0.25, 0)


@I.ir_module
class Network:
    @R.function
    def main(x: R.Tensor((1, 2, 3, 3), "float32")) -> R.Tensor((1, 2, 3, 3), "float32"):
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(WEIGHT))
            b = R.add(c, R.const(BIAS))
            h = R.nn.relu(b)
            y = R.nn.softmax(h, axis=1)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 3, 3), "float32")) -> R.Tensor((1, 2, 3, 3), "float32"):
        with R.dataflow():
            q = R.quantize(x, R.const(np.float32(0.125)), R.const(np.uint8(16)), axis=0, out_dtype="uint8")
            d = R.dequantize(q, R.const(np.float32(0.125)), R.const(np.uint8(16)), axis=0)
            w = R.dequantize(R.const(CODES), R.const(SCALES), R.const(np.zeros(2, "int8")), axis=0)
            c = R.nn.conv2d(d, w)
            k = np.rint(BIAS.reshape(2) / (SCALES.astype("float64") * 0.125)).astype("int32").reshape(1, 2, 1, 1)
            k = R.dequantize(R.const(k), R.const(SCALES * np.float32(0.125)), R.const(np.zeros(2, "int32")), axis=1)
            a = R.add(c, k)
            r = R.nn.relu(a)
            p = R.clip(r, 0.0, 3.75)  # 15 steps of 0.25
            hq = R.quantize(p, R.const(np.float32(0.25)), R.const(np.uint8(0)), axis=0, out_dtype="uint8")
            hd = R.dequantize(hq, R.const(np.float32(0.25)), R.const(np.uint8(0)), axis=0)
            y = R.nn.softmax(hd, axis=1)
            R.output(y)
        return y


@pytest.fixture
def layers():
    return FuseActivation()(Network)


def quantised(apply_once, mod, weight_bits, held):
    marked = apply_once(AnnotatePrecision(weight_bits, held), mod)
    return apply_once(QuantizeLayers(), marked)


def test_before_and_expected(apply_once, layers):
    found = quantised(apply_once, layers, {"c": 8}, {"x": X, "c": H})
    tvm.ir.assert_structural_equal(
        found["main"].without_attr("global_symbol"), Expected["main"].without_attr("global_symbol")
    )


def test_nothing_to_do(apply_once, layers, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    assert QuantizeLayers()(layers).same_as(layers)
    assert "no layer is annotated" in caplog.text
    assert AnnotatePrecision()(layers).same_as(layers)
    assert "no layer and no tensor is named" in caplog.text


def test_a_layer_beside_stays(apply_once, layers):
    """Weights alone, without data held as integers: the softmax has to do with nothing quantised."""
    found = quantised(apply_once, layers, {"c": 4}, {})
    assert [str(callee.attrs["tvm_split.layer"]) for _, callee in layer_calls(found)] == ["y"]


@pytest.mark.parametrize(
    ("weight_bits", "held", "message"),
    [
        ({"d": 8}, {}, "weight_bits names 'd', but the network has no such layer; there are c"),
        ({}, {"h": X}, "held names 'h', but the network has no such tensor"),
        ({"y": 8}, {}, "layer 'y' is to have 8 bits, but it has no constant float32 weights"),
        ({"c": 9}, {}, "the weights of 'c' cannot have 9 bits; the widths are 2 to 8"),
        ({}, {"x": Quantizer(1, 0.5, 0)}, "'x' cannot have 1 bits"),
    ],
)
def test_refused(layers, weight_bits, held, message):
    with pytest.raises(PlanError, match=message):
        AnnotatePrecision(weight_bits, held)(layers)


def test_integers_are_not_held_again():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 4), "uint8"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.astype(x, "float32"))
        builder.emit_func_output(y)
    with pytest.raises(PlanError, match="tensor 'x' is uint8; only float32"):
        AnnotatePrecision({}, {"x": X})(FuseActivation()(builder.get()))


def real(x, quantizer):
    levels = np.clip(np.rint(x / np.float32(quantizer.scale)) + quantizer.zero_point, 0, 2**quantizer.bits - 1)
    return (levels - quantizer.zero_point) * quantizer.scale


@settings(max_examples=25, deadline=None)
@given(
    weight_bits=st.integers(2, 8), bits=st.integers(2, 8), channels=st.integers(1, 9), size=st.integers(1, 7),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_numbers_of_the_integer_layer(apply_once, run_layers, weight_bits, bits, channels, size, seed):
    """Against float64 arithmetic on the rounded weights and data, within the rounding of the bias and one level."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=(channels, 3, 3, 3)).astype("float32")
    weight[random.integers(channels)] *= random.choice((0.0, 1e-20, 1e-38, 1.0))  # a dead channel, or one all but dead
    bias = random.normal(size=(1, channels, 1, 1)).astype("float32")
    x = random.normal(size=(1, 3, size, size)).astype("float32")
    builder = relax.BlockBuilder()
    var = relax.Var("x", relax.TensorType(x.shape, "float32"))
    with builder.function("main", [var]):
        with builder.dataflow():
            c = builder.emit(relax.op.nn.conv2d(var, relax.const(weight), padding=1), "c")
            y = builder.emit_output(relax.op.nn.relu(builder.emit(relax.op.add(c, relax.const(bias)))))
        builder.emit_func_output(y)
    step = Quantizer.of_range(bits, x.min(), x.max())
    form = quantised(apply_once, FuseActivation()(builder.get()), {"c": weight_bits}, {"x": step})
    lowered = FuseActivation()(apply_once(LowerQdq(), form))
    items = [item for _, callee in layer_calls(lowered) for block in callee.body.blocks for item in block.bindings]
    added = [str(item.var.ty.dtype) for item in items if operator(item.value) == "relax.add"]
    assert added == ["int32"]  # the bias and the data's zero point, one integer
    (found,) = run_layers(lowered, x)
    codes = {}
    for block in form["main"].body.blocks:
        codes |= {item.var.name: item.value for item in block.bindings}
    integers, scale = (arg.value.numpy() for arg in codes["c_weight"].args[:2])
    assert np.abs(integers).max(initial=0) <= 2 ** (weight_bits - 1) - 1
    data = np.pad(real(x, step).astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3), axis=(2, 3))
    wanted = np.einsum("nihwkl,oikl->nohw", windows, integers * scale.reshape(-1, 1, 1, 1).astype("float64")) + bias
    rounding = scale.reshape(1, -1, 1, 1) * step.scale / 2
    assert (np.abs(found - np.maximum(wanted, 0)) <= rounding + 1e-4 * np.abs(wanted).max()).all()


def pooled():
    """c -> max_pool2d -> concat with c -> softmax."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 2, 4, 4), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            c = builder.emit(relax.op.nn.conv2d(x, relax.const(WEIGHT)), "c")
            p = builder.emit(relax.op.nn.max_pool2d(c, (3, 3), padding=1), "p")
            j = builder.emit(relax.op.concat([c, p], axis=1), "j")
            s = builder.emit_output(relax.op.nn.softmax(j, axis=1), "s")
        builder.emit_func_output(s)
    return FuseActivation()(builder.get())


@pytest.mark.parametrize("bits", [3, 8])
def test_what_moves_codes_quantises_nothing(apply_once, bits):
    mod = pooled()
    assert same_codes(mod) == {"p": frozenset("cp"), "j": frozenset("cpj")}
    assert together(same_codes(mod).values()) == [frozenset("cpj")]
    assert set(together([frozenset("ab"), frozenset("cd"), frozenset("bd"), frozenset("ef")])) == {
        frozenset("abcd"), frozenset("ef"),
    }  # fmt: skip
    step = Quantizer.of_range(bits, -1, 1)
    form = quantised(apply_once, mod, {}, dict.fromkeys("cpj", step))
    made = extract.graph(FuseActivation()(LowerQdq()(form)))
    kinds = {layer.op for layer in made.layers}
    assert {"max_pool2d", "concat"} <= kinds and made.tensor["p"].dtype == made.tensor["j"].dtype == "uint8"


def test_what_crosses_has_the_codes_that_the_edge_reads(apply_once, run_layers):
    """c is held at 8 bits and sent at 8 with one quantiser: quantised once, and the cloud gets those codes."""
    step = Quantizer.of_range(8, -2, 2)
    mod = apply_once(QuantizeCut({"c": step}), AssignCut({"c", "p"})(pooled()))
    edge = apply_once(Partition("edge"), mod)
    made = FuseActivation()(LowerQdq()(quantised(apply_once, edge, {}, {"c": step})))
    assert sum(layer.op.split("_").count("quantize") for layer in extract.graph(made).layers) == 1
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype("float32")
    for found, wanted in zip(run_layers(made, x), run_layers(edge, x), strict=True):
        np.testing.assert_allclose(found, wanted, atol=step.scale)
