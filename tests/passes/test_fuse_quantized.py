"""FuseActivation and ChannelsLast on what lower-qdq makes: layers from codes to codes, channels last, same numbers."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import main_bindings
from tvm_split.passes.lower_qdq import LowerQdq

SHAPE = (1, 4, 6, 6)
RANDOM = np.random.default_rng(0)


def const(array, dtype):
    return relax.const(np.asarray(array, dtype))


class Qdq:
    """Emits quantised operators; `at` is the name of the last one."""

    def __init__(self, emit):
        self.emit = emit

    def __call__(self, x, scale=0.05, zero=100, name="q"):
        scale, zero = const(scale, "float32"), const(zero, "uint8")
        codes = self.emit(relax.op.quantize(x, scale, zero, 0, "uint8"), f"{name}_codes")
        return self.emit(relax.op.dequantize(codes, scale, zero, 0), name)

    def conv(self, x, name="c", scale=0.05, bias=True, **attrs):
        weight = RANDOM.integers(-127, 128, (4, 4 // attrs.get("groups", 1), 3, 3))
        steps, none = RANDOM.uniform(0.001, 0.01, 4).astype("float32"), const(np.zeros(4), "int8")
        real = self.emit(relax.op.dequantize(const(weight, "int8"), relax.const(steps), none, 0), f"{name}_weight")
        made = self.emit(relax.op.nn.conv2d(x, real, padding=1, **attrs), name)
        if bias:
            whole = np.float32(scale) * steps * np.float32(100)
            made = self.emit(relax.op.add(made, const(whole.reshape(1, 4, 1, 1), "float32")), f"{name}_bias")
        return made


@pytest.fixture
def made(apply_once, build):
    """The module of layers of `body(q, emit, x, ...)`."""

    def layers(body, inputs=1):
        mod = build(lambda emit, *x: body(Qdq(emit), emit, *x), *[SHAPE] * inputs)
        return apply_once(FuseActivation(), apply_once(LowerQdq(), mod))

    return layers


def kinds(mod):
    return [layer.op for layer in extract.graph(mod).layers]


def between(mod):
    """The dtypes of what one layer makes and another reads."""
    graph = extract.graph(mod)
    return {graph.tensor[n].dtype for layer in graph.layers for n in layer.inputs if n not in graph.inputs}


def residual(q, emit, x):
    first = q(x)
    a = q(q.conv(first, "a"), 0.04, 90, "aq")
    b = q(q.conv(a, "b", 0.04), 0.06, 110, "bq")
    return q(emit(relax.op.add(b, first), "sum"), 0.08, 120, "y")


def test_a_residual_rides_on_the_convolution(made):
    mod = made(residual)
    assert kinds(mod) == ["quantize", "conv2d_bias_quantize", "conv2d_bias_quantize_residual_quantize", "dequantize"]
    assert between(mod) == {"uint8"}
    (layer,) = (layer for layer in extract.graph(mod).layers if "residual" in layer.op)
    assert (layer.name, layer.inputs) == ("b", ("a", "q_codes"))
    assert layer.flops >= 2 * 4 * 36 * 4 * 9
    weights, per_channel, zero, of_residual = 4 * 4 * 9, 4 * (4 + 4), 4, 3 * (4 + 1)
    assert layer.weight_bytes == weights + per_channel + zero + of_residual


def test_what_carries_codes_into_layers_is_copied_into_each(made):
    def body(q, emit, x):
        a, b = q(x, name="a"), q(x, 0.07, 3, "b")
        both = q(emit(relax.op.concat([a, b], 1), "both"), 0.07, 3)
        return emit(relax.op.mean(a, [2, 3]), "m"), emit(relax.op.exp(a), "e"), both

    def tuples(q, emit, x):
        return emit(relax.Tuple(body(q, emit, x)), "t")

    mod = made(tuples)
    assert sorted(kinds(mod)) == ["concat_quantize", "dequantize", "exp", "mean", "quantize", "quantize"]
    assert between(mod) == {"uint8"}


def test_an_operator_takes_the_quantize_after_it(made):
    mod = made(lambda q, emit, x: q(emit(relax.op.mean(q(x), [2, 3], True), "m"), 0.03, 5, "y"))
    assert kinds(mod) == ["quantize", "mean_quantize", "dequantize"]


def test_a_layer_does_not_end_wider_than_it_could(made):
    mod = made(lambda q, emit, x: emit(relax.op.exp(q(q.conv(q(x)), 0.04, 90, "cq")), "e"))
    assert kinds(mod) == ["quantize", "conv2d_bias_quantize", "exp"]
    assert between(mod) == {"uint8"}


def test_activations_keep_their_names_between_codes(made):
    def body(q, emit, x):
        c = q(q.conv(q(x), bias=False), 0.04, 90, "cq")
        return q(emit(relax.op.multiply(c, emit(relax.op.sigmoid(c), "s")), "m"), 0.03, 80, "y")

    assert kinds(made(body)) == ["quantize", "conv2d_bias_quantize_silu_quantize", "dequantize"]


def test_a_float_result_of_sums(made):
    mod = made(lambda q, emit, x: emit(relax.op.nn.leakyrelu(q.conv(q(x))), "y"))
    assert kinds(mod) == ["quantize", "conv2d_bias_dequantize_leaky_relu"]


def test_int8_input_and_output(apply_once):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "int8"))
    with builder.function("main", [x]):
        with builder.dataflow():
            q = Qdq(builder.emit)
            scale, zero = const(0.05, "float32"), const(-28, "int8")
            made = q.conv(builder.emit(relax.op.dequantize(x, scale, zero, 0)))
            out = builder.emit_output(relax.op.quantize(made, scale, zero, 0, "int8"))
        builder.emit_func_output(out)
    mod = apply_once(FuseActivation(), apply_once(LowerQdq(), builder.get()))
    assert kinds(mod) == ["recode", "conv2d_bias_quantize_recode"]
    graph = extract.graph(mod)
    assert [graph.tensor[name].dtype for name in (*graph.inputs, *graph.outputs)] == ["int8", "int8"]


def test_conversions_in_a_float_network_stay_layers(apply_once, build):
    def body(emit, x):
        whole = emit(relax.op.astype(emit(relax.op.nn.relu(x), "r"), "int32"), "i")
        return emit(relax.op.astype(emit(relax.op.add(whole, relax.const(1, "int32")), "a"), "float32"), "f")

    assert kinds(apply_once(FuseActivation(), build(body, SHAPE))) == ["relu", "astype", "add", "astype"]


def block(q, emit, x):
    """What a network has: a depthwise and a residual convolution, pools, a concat, a resize."""
    a = q(q.conv(q(x), "a", groups=4), 0.04, 90, "aq")
    b = q(emit(relax.op.add(q(q.conv(a, "b", 0.04), 0.06, 110, "bq"), a), "sum"), 0.08, 120, "b2")
    small = emit(relax.op.nn.max_pool2d(b, (3, 3), (2, 2), padding=(1, 1)), "small")
    large = emit(relax.op.image.resize2d(small, (6, 6), method="nearest_neighbor"), "large")
    joined = q(emit(relax.op.concat([large, a], 1), "joined"), 0.08, 120, "jq")
    return q(emit(relax.op.nn.avg_pool2d(joined, (2, 2), (2, 2)), "y"), 0.05, 100, "yq")


@pytest.mark.parametrize("body", [residual, block])
def test_channels_last_turns_the_ends_alone(made, run, body, apply_once):
    mod = made(body)
    turned = apply_once(ChannelsLast(), mod)
    between_layers = [binding.value for binding in main_bindings(turned)[1] if isinstance(binding.value.op, tvm.ir.Op)]
    assert len(between_layers) == 2, "the input and the output"
    x = RANDOM.standard_normal(SHAPE).astype("float32") * 5
    np.testing.assert_array_equal(run(turned, x), run(mod, x))


@pytest.mark.parametrize("body", [residual, block])
def test_layers_compute_what_the_lowered_network_does(run, run_layers, build, body):
    lowered = LowerQdq()(build(lambda emit, x: body(Qdq(emit), emit, x), SHAPE))
    x = RANDOM.standard_normal(SHAPE).astype("float32") * 5
    (found,) = run_layers(FuseActivation()(lowered), x)
    np.testing.assert_array_equal(found, run(lowered, x))


def test_a_cast_becomes_one_layer_with_the_quantize_that_alone_reads_it(made):
    def body(q, emit, x):
        whole = emit(relax.op.astype(x, "int32"), "whole")  # what a frame of bytes is, too
        real = q(emit(relax.op.astype(whole, "float32"), "cast"), 0.1, 100)
        scaled = q(emit(relax.op.multiply(real, const(0.5, "float32")), "scaled"), 0.05, 100, "s")
        return q(q.conv(scaled, "c"), 0.04, 90, "y")

    assert between(made(body)) == {"int32", "uint8"}, "no float32 between layers"
