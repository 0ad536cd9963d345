"""Floats that are stored narrower than they are computed with: float16 weights and tensors, int8 weights of float data.

QuantizeLayers and LowerQdq write them, FuseActivation takes them into layers, kernels widen them: every result is, bit
for bit, that of the float32 network with the same weights and with tensors rounded where they are held.
"""

import re

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, lower, pipeline
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import COMPOSITE, WINOGRAD, is_constant, layer_calls
from tvm_split.passes.quantize_cut import Quantizer
from tvm_split.passes.quantize_layers import QuantizeLayers
from tvm_split.passes.stored_weights import LARGEST_HALF, StoredWeights, stored_weights

#: without and with an instruction that widens float16
PROCESSORS = ("x86-64-v2", "x86-64-v3")
WEIGHT = np.array([[[[1.0]], [[0.1]]], [[[-3e-7]], [[1 / 3]]]], "float32")
CODES = np.array([[[[127]], [[-64]]], [[[127]], [[64]]]], "int8")
SCALES = np.array([2.0**-7, 2.0**-9], "float32")


def constants(mod):
    """Bytes of the module's tensor literals, by dtype."""
    found = {}

    def visit(expr):
        if is_constant(expr):
            found[expr] = expr.value.numpy()

    for function in mod.functions.values():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit)
    sizes = {}
    for array in found.values():
        sizes[str(array.dtype)] = sizes.get(str(array.dtype), 0) + array.nbytes
    return sizes


def target(processor):
    return tvm.target.Target({"kind": "llvm", "mcpu": processor, "num-cores": 2})


def lowered(mod, processor):
    with target(processor):
        return lower.pipeline(target(processor))(mod)


def computed(mod, processor, *inputs):
    made = tvm.compile(mod, target(processor), relax_pipeline=lower.pipeline(target(processor)))
    return relax.VirtualMachine(made, tvm.cpu())["main"](*map(tvm.runtime.tensor, inputs)).numpy()


def narrowed(mod, weight_bits, halves=()):
    return tvm.transform.Sequential([AnnotatePrecision(weight_bits, {}, halves), pipeline.quantized()])(mod)


def rounded(weight, bits, axis=0):
    if bits == 16:
        return weight.astype("float16").astype("float32")
    return dequantize_weights(*quantize_weights(weight, axis, bits), axis)


@I.ir_module
class Network:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 2, 2), "float32"):
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(WEIGHT))
            h = R.nn.relu(c)
            p = R.nn.max_pool2d(h, (2, 2), (2, 2))
            y = R.nn.softmax(p, axis=1)
            R.output(y)
        return y


@I.ir_module
class Halves:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 2, 2), "float32"):
        with R.dataflow():
            w = R.astype(R.const(WEIGHT.astype("float16")), "float32")
            c = R.nn.conv2d(x, w)
            r = R.nn.relu(c)
            b = R.clip(r, -LARGEST_HALF, LARGEST_HALF)
            h = R.astype(b, "float16")
            p = R.nn.max_pool2d(h, (2, 2), (2, 2))  # moves what it is given
            d = R.astype(p, "float32")
            y = R.nn.softmax(d, axis=1)
            R.output(y)
        return y


@I.ir_module
class Codes:
    @R.function
    def main(x: R.Tensor((1, 2, 4, 4), "float32")) -> R.Tensor((1, 2, 4, 4), "float32"):
        with R.dataflow():
            w = R.dequantize(R.const(CODES), R.const(SCALES), R.const(np.zeros(2, "int8")), axis=0)
            c = R.nn.conv2d(x, w)
            R.output(c)
        return c


def test_before_and_expected(apply_once):
    marked = apply_once(AnnotatePrecision({"c": 16}, {}, ["c", "p"]), FuseActivation()(Network))
    found = apply_once(QuantizeLayers(), marked)
    tvm.ir.assert_structural_equal(
        found["main"].without_attr("global_symbol"), Halves["main"].without_attr("global_symbol")
    )


def test_layers_take_what_widens(apply_once):
    made = apply_once(FuseActivation(), Halves)
    assert [str(callee.attrs[COMPOSITE]) for _, callee in layer_calls(made)] == [
        "tvm_split.conv2d_relu_clip_half", "tvm_split.max_pool2d", "tvm_split.softmax",
    ]  # fmt: skip
    assert [tensor.dtype for tensor in extract.graph(made).tensors] == ["float32", "float16", "float16", "float32"]


def test_codes_of_a_float_layer_stay_codes(apply_once):
    """LowerQdq leaves them behind a dequantize, and the layer takes it."""
    made = apply_once(pipeline.quantized(), Codes)
    ((_, layer),) = layer_calls(made)
    assert str(layer.attrs[COMPOSITE]) == "tvm_split.conv2d"
    (found,) = filter(None, (stored_weights(item.value) for block in layer.body.blocks for item in block.bindings))
    np.testing.assert_array_equal(found.codes, CODES)
    np.testing.assert_array_equal(found.scale, SCALES)


@pytest.mark.parametrize("processor", PROCESSORS)
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_numbers(build, processor, data):
    """Convolution, depthwise and product of odd channels, weights of 16, 8 and fewer bits, held tensors."""
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    random = np.random.default_rng(draw(0, 2**32))
    inner, channels, outer, last = draw(1, 9), draw(2, 37), draw(1, 37), draw(1, 21)
    shape = (1, inner, draw(3, 9), draw(3, 9))
    shapes = [(channels, inner, 3, 3), (channels, 1, 3, 3), (outer, channels, 1, 1), (outer, last)]
    arrays = [random.normal(size=each).astype("float32") for each in shapes]
    bits = [data.draw(st.sampled_from((16, 8, 4, 3, 2))) for _ in shapes]
    holds = data.draw(st.booleans())

    def network(weights, hold):
        def held(emit, value):
            return emit(relax.op.astype(emit(relax.op.astype(value, "float16")), "float32")) if hold else value

        def body(emit, x):
            a = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(held(emit, x), weights[0], padding=1), "a")))
            b = emit(relax.op.nn.conv2d(held(emit, a), weights[1], padding=1, groups=channels), "b")
            c = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(held(emit, b), weights[2]), "c")))
            m = emit(relax.op.mean(held(emit, c), [2, 3]), "m")
            return emit(relax.op.nn.relu(emit(relax.op.matmul(held(emit, m), weights[3]), "d")))

        return build(body, shape)

    before = pipeline.layers()(network([relax.const(array) for array in arrays], hold=False))
    names = dict(zip("abcd", bits, strict=True))
    made = narrowed(before, names, ["x0", "a", "b", "c", "m"] if holds else [])
    wanted = [relax.const(rounded(w, b, w.ndim // 4 ^ 1)) for w, b in zip(arrays, bits, strict=True)]
    expected = pipeline.layers()(network(wanted, hold=False))
    x = random.normal(size=shape).astype("float32")
    if holds:  # as TVM computes the casts, one by one
        whole = tvm.compile(network(wanted, hold=True), target(processor))
        reference = relax.VirtualMachine(whole, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
        found = computed(made, processor, x)
        assert np.abs(found - reference).max() <= 2.0**-9 * max(np.abs(reference).max(), 1)
        return
    np.testing.assert_array_equal(computed(made, processor, x), computed(expected, processor, x))


def test_constants_are_narrow(build, tmp_path):
    """In the module's literals, and in the library that is deployed."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(512, 512)).astype("float32"), random.normal(size=(512, 256)).astype("float32")]

    def body(emit, x):
        a = emit(relax.op.matmul(x, relax.const(arrays[0])), "a")
        return emit(relax.op.nn.relu(emit(relax.op.matmul(a, relax.const(arrays[1])), "b")))

    before, found, sizes = pipeline.layers()(build(body, (1, 512))), {}, {}
    for bits in (32, 16, 8):
        made = before if bits == 32 else narrowed(before, {"a": bits, "b": bits})
        found[bits] = constants(lowered(made, "x86-64-v3"))
        library = tmp_path / f"{bits}.so"
        compiled = tvm.compile(made, target("x86-64-v3"), relax_pipeline=lower.pipeline(target("x86-64-v3")))
        compiled.export_library(str(library))
        sizes[bits] = library.stat().st_size
    whole = found[32]["float32"]  # the tiles' fill included
    assert whole >= 4 * sum(array.size for array in arrays)
    assert found[16] == {"float16": whole // 2}
    assert found[8]["int8"] == whole // 4 and found[8]["float32"] < whole / 100
    assert sizes[32] - sizes[16] == pytest.approx(whole / 2, rel=0.02)
    assert sizes[32] - sizes[8] == pytest.approx(whole * 3 / 4, rel=0.02)


def test_other_operators_and_winograd_data(build):
    """Data held as float16 of every kernel that packs; a residual of a held tensor; a transposed convolution."""
    random = np.random.default_rng(3)
    w = relax.const(random.normal(size=(64, 64, 3, 3), scale=0.05).astype("float32"))
    t = relax.const(random.normal(size=(64, 8, 2, 2), scale=0.1).astype("float32"))
    one = relax.const(random.normal(size=(16, 8, 3), scale=0.1).astype("float32"))

    def network(hold):
        def body(emit, x):
            held = lambda v: emit(relax.op.astype(emit(relax.op.astype(v, "float16")), "float32")) if hold else v  # noqa: E731
            x = held(x)
            a = held(emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, w, padding=1), "a"))))
            b = held(emit(relax.op.add(emit(relax.op.nn.conv2d(a, w, padding=1), "b"), a)))
            c = held(emit(relax.op.nn.conv2d_transpose(b, t, strides=(2, 2)), "c"))
            d = held(emit(relax.op.reshape(c, (1, 8, 1024)), "d"))
            e = held(emit(relax.op.nn.conv1d(d, one, padding=1), "e"))
            f = held(emit(relax.op.nn.softmax(e, axis=-1), "f"))
            return emit(relax.op.matmul(f, emit(relax.op.permute_dims(f, [0, 2, 1]), "g")), "y")

        return build(body, (1, 64, 16, 16))

    before = pipeline.layers()(network(hold=False))
    assert any(callee.attrs.get(WINOGRAD) for _, callee in layer_calls(before))
    graph = extract.graph(before)
    made = narrowed(before, {}, [name for name in "x0 a b c d e f g".split() if name in graph.tensor])
    assert {tensor.dtype for tensor in extract.graph(made).tensors if tensor.name not in ("x0", "result")} == {
        "float16"
    }
    x = random.normal(size=(1, 64, 16, 16)).astype("float32")
    reference = computed(pipeline.layers()(network(hold=False)), "x86-64-v3", x)
    found = computed(made, "x86-64-v3", x)
    assert 0 < np.abs(found - reference).max() <= 2.0**-8 * np.abs(reference).max()


def test_more_than_float16_holds(build):
    """Refused of weights; a tensor that exceeds its calibration is bounded, not infinite."""
    large = relax.const(np.full((4, 4), 70000, "float32"))
    mod = FuseActivation()(build(lambda emit, x: emit(relax.op.matmul(x, large), "a"), (1, 4)))
    (layer,) = (str(layer.name) for layer in extract.graph(mod).layers)
    with pytest.raises(PlanError, match="its weights reach 70000, more than the 65504 of float16; leave it at 32"):
        narrowed(mod, {layer: 16})
    small = relax.const(np.eye(4, dtype="float32"))
    body = lambda emit, x: emit(relax.op.matmul(emit(relax.op.nn.relu(x), "a"), small), "b")  # noqa: E731
    made = narrowed(FuseActivation()(build(body, (1, 4))), {}, ["a"])
    found = computed(made, "x86-64-v3", np.array([[1e6, 1, 3e38, 65504]], "float32"))
    np.testing.assert_array_equal(found, [[LARGEST_HALF, 1, LARGEST_HALF, 65504]])


def test_refused(build):
    small = relax.const(np.eye(4, dtype="float32"))
    mod = FuseActivation()(build(lambda emit, x: emit(relax.op.matmul(x, small), "a"), (1, 4)))
    with pytest.raises(PlanError, match="halves names 'h', but the network has no such tensor"):
        AnnotatePrecision({}, {}, ["h"])(mod)
    with pytest.raises(PlanError, match="'x0' is to be held as integers and as float16"):
        AnnotatePrecision({}, {"x0": Quantizer(8, 0.1, 0)}, ["x0"])(mod)


def test_a_layer_of_float16_weights_may_make_integers(build):
    """A layer and the tensor that it makes have one name; their bits are checked apart."""
    first, second = (relax.const(np.random.default_rng(i).normal(size=(4, 4)).astype("float32")) for i in range(2))

    def body(emit, x):
        a = emit(relax.op.nn.relu(emit(relax.op.matmul(x, first), "a")), "ar")
        return emit(relax.op.matmul(a, second), "b")

    mod = FuseActivation()(build(body, (1, 4)))
    layer, last = (layer.name for layer in extract.graph(mod).layers)
    held = {layer: Quantizer(8, 0.05, 0)}
    made = pipeline.quantized()(AnnotatePrecision({layer: 16, last: 8}, held)(mod))
    halves = [stored_weights(item.value) for _, callee in layer_calls(made) for item in callee.body.blocks[0].bindings]
    assert [each.codes.dtype for each in halves if each is not None] == ["float16"]
    x = np.random.default_rng(2).normal(size=(1, 4)).astype("float32")
    rounded = first.value.numpy().astype("float16").astype("float32")
    codes = np.clip(np.round(np.maximum(x @ rounded, 0) / 0.05), 0, 255)
    runner = LayerRunner(made)
    found = runner.run({"x0": x}, runner.graph.outputs)[runner.graph.outputs[0]]
    np.testing.assert_allclose(found, codes * 0.05 @ second.value.numpy(), rtol=0.05, atol=0.05)
    for bits in (10, 32):
        with pytest.raises(PlanError, match=f"the weights of '{layer}' cannot have {bits} bits"):
            AnnotatePrecision({layer: bits}, {})(mod)
    with pytest.raises(PlanError, match=f"'{layer}' cannot have 16 bits as integers"):
        AnnotatePrecision({}, {layer: Quantizer(16, 0.05, 0)})(mod)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_halves_are_the_nearest(numbers):
    array = np.array(numbers, "float32")
    if np.abs(array).max() > LARGEST_HALF:
        with pytest.raises(PlanError, match="layer 'c' is to have 16 bits"):
            StoredWeights.halves(array, "c")
    else:
        found = StoredWeights.halves(array, "c").reals()
        np.testing.assert_array_equal(found, array.astype("float16").astype("float32"))


@pytest.mark.parametrize("processor", ["cortex-a72", "cortex-a76"])
def test_arm_compiles(build, processor):
    random = np.random.default_rng(5)
    w = relax.const(random.normal(size=(19, 7, 3, 3)).astype("float32"))
    body = lambda emit, x: emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, w, padding=1), "a")))  # noqa: E731
    made = narrowed(pipeline.layers()(build(body, (1, 7, 9, 11))), {"a": 16}, ["x0"])
    arm = tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": processor})
    code = tvm.compile(made, arm, relax_pipeline=lower.pipeline(arm)).mod.imports[0].inspect_source("asm")
    assert "fcvtl" in code and not re.search(r"bl\s+__(extendhfsf2|truncsfhf2)", code)
