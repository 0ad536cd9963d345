"""tabulate-codes: a chain of codes is one look-up, whose codes are those of the chain, every one."""

import logging

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import lower
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import layer_calls
from tvm_split.passes.lower_qdq import LowerQdq
from tvm_split.passes.tabulate_codes import TabulateCodes

TARGET = tvm.target.Target("llvm")
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2})
ALL = {"uint8": np.arange(256, dtype="uint8"), "int8": np.arange(-128, 128).astype("int8")}


def real(value):
    return relax.const(np.float32(value))


def dequantize(emit, codes, scale, zero):
    return emit(relax.op.dequantize(codes, real(scale), relax.const(zero, str(codes.ty.dtype)), 0))


def quantize(emit, value, scale, zero, dtype="uint8"):
    return emit(relax.op.quantize(value, real(scale), relax.const(zero, dtype), 0, dtype))


def silu(emit, x):
    """As a QDQ network has it."""
    gate = quantize(emit, emit(relax.op.sigmoid(x)), 1 / 256, 0)
    return emit(relax.op.multiply(x, dequantize(emit, gate, 1 / 256, 0)))


def hard_swish(emit, x):
    above = emit(relax.op.clip(emit(relax.op.add(x, real(3))), 0, 6))
    gate = quantize(emit, emit(relax.op.divide(above, real(6))), 1 / 255, 0)
    return emit(relax.op.multiply(x, dequantize(emit, gate, 1 / 255, 0)))


def leaky(emit, x):
    """Rounded twice."""
    first = quantize(emit, emit(relax.op.nn.leakyrelu(x, 0.1)), 0.04, 20)
    return dequantize(emit, first, 0.04, 20)


def of(operator):
    return lambda emit, x: emit(operator(x))


CURVES = {
    "sigmoid": of(relax.op.sigmoid), "tanh": of(relax.op.tanh), "gelu": of(relax.op.nn.gelu),
    "swish": of(relax.op.nn.silu), "silu": silu, "hard_swish": hard_swish, "leaky": leaky,
    "exp": lambda emit, x: emit(relax.op.exp(emit(relax.op.minimum(x, real(0))))),
}  # fmt: skip


def main(body, *params):
    builder = relax.BlockBuilder()
    with builder.function("main", list(params)):
        with builder.dataflow():
            out = builder.emit_output(body(builder.emit, *params))
        builder.emit_func_output(out)
    return builder.get()


def chain(curve, given=("uint8", 0.05, 100), made=("uint8", 0.02, 7), shape=(256,)):
    """quantize(curve(dequantize(x)))"""
    dtype, scale, zero = made

    def body(emit, x):
        return quantize(emit, curve(emit, dequantize(emit, x, *given[1:])), scale, zero, dtype)

    return main(body, relax.Var("x", relax.TensorType(shape, given[0])))


def values(mod):
    return [binding.value for block in mod["main"].body.blocks for binding in block.bindings]


def computed(mod, x, tabulated, target=TARGET):
    """By our kernels, with the pass or without it."""
    steps = [step for step in lower.passes(target) if tabulated or step.info.name != "TabulateCodes"]
    with target:
        made = tvm.compile(mod, target, relax_pipeline=tvm.transform.Sequential(steps))
    machine = relax.VirtualMachine(made, tvm.cpu())
    return machine["main"](tvm.runtime.tensor(x)).numpy()


@pytest.mark.parametrize("given", [("uint8", 0.05, 100), ("uint8", 0.3, 3), ("uint8", 0.0071, 200), ("int8", 0.09, -3)])
@pytest.mark.parametrize("curve", CURVES)
def test_each_code_is_that_of_the_kernels(curve, given):
    for made in (("uint8", 0.02, 7), ("uint8", 1 / 256, 0), ("int8", 0.011, -20)):
        mod = chain(CURVES[curve], given, made)
        x = ALL[given[0]]
        found = computed(mod, x, tabulated=True)
        assert len(np.unique(found)) > 2
        np.testing.assert_array_equal(found, computed(mod, x, tabulated=False))


def test_before_and_expected(apply):
    after = apply(TabulateCodes(), chain(silu))
    code, found = values(after)[:2]
    assert [str(value.op.name) for value in (code, found)] == ["relax.astype", "relax.take"] and len(values(after)) <= 3
    x = (np.arange(256, dtype="int32") - 100).astype("float32") * np.float32(0.05)
    gate = np.rint(256 / (1 + np.exp(-x.astype("float64")))).clip(0, 255)
    expected = (np.rint(x * gate / 256 / 0.02) + 7).clip(0, 255)
    np.testing.assert_array_equal(found.args[0].value.numpy(), expected)


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 64, 32)])
def test_tensors_of_any_shape(shape):
    x = np.resize(np.arange(255, -1, -1, dtype="uint8"), shape)
    mod = chain(silu, shape=shape)
    np.testing.assert_array_equal(computed(mod, x, tabulated=True), computed(mod, x, tabulated=False))


def unchanged(mod, caplog):
    with caplog.at_level(logging.INFO, "tvm_split.passes"):
        assert TabulateCodes()(mod).same_as(mod)
    return "nothing to do" in caplog.text


def test_arithmetic_with_one_rounding_stays(caplog):
    assert unchanged(chain(of(relax.op.nn.relu)), caplog)


def test_functions_of_two_tensors_or_of_channels_stay(caplog):
    def body(emit, x, y):
        a, b = (dequantize(emit, part, 0.1, 5) for part in (x, y))
        both = quantize(emit, emit(relax.op.sigmoid(emit(relax.op.add(a, b)))), 1 / 256, 0)
        scaled = emit(relax.op.multiply(a, relax.const(np.arange(8, dtype="float32"))))
        return relax.Tuple([both, quantize(emit, emit(relax.op.sigmoid(scaled)), 1 / 256, 0)])

    assert unchanged(main(body, *(relax.Var(name, relax.TensorType((4, 8), "uint8")) for name in "xy")), caplog)


def test_what_is_no_number_stays(caplog):
    """0 / 0 for the code of zero: what becomes of it is the processor's."""
    mod = chain(lambda emit, x: emit(relax.op.divide(emit(relax.op.tanh(x)), x)))
    assert unchanged(mod, caplog)


@pytest.mark.parametrize("target", [TARGET, HOST], ids=["any", "host"])
def test_in_a_layer_it_is_part_of_the_convolutions_kernel(target, apply_once):
    rng = np.random.default_rng(0)
    weight = relax.const(rng.integers(-127, 128, (24, 6, 3, 3)).astype("int8"))

    def body(emit, x):
        kernel = emit(relax.op.dequantize(weight, real(0.002), relax.const(0, "int8"), 0))
        sums = emit(relax.op.nn.conv2d(dequantize(emit, x, 0.02, 128), kernel, padding=1))
        level = dequantize(emit, quantize(emit, sums, 0.03, 120), 0.03, 120)
        return quantize(emit, silu(emit, level), 0.03, 10)

    mod = main(body, relax.Var("x", relax.TensorType((1, 6, 9, 9), "uint8")))
    mod = apply_once(FuseActivation(), apply_once(LowerQdq(), mod))
    assert len(layer_calls(mod)) == 1
    data = rng.integers(0, 256, (1, 6, 9, 9)).astype("uint8")
    found = computed(mod, data, tabulated=True, target=target)
    assert len(np.unique(found)) > 100
    np.testing.assert_array_equal(found, computed(mod, data, tabulated=False, target=target))
