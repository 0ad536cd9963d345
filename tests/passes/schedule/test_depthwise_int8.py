"""Integer depthwise kernels: exact for every shape, on every kind of vector, with what follows them."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, tirx

from tvm_split.passes.kernels.depthwise_int8 import cut_of, depthwise_int8
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.kernels.word_dot import VPDPBUSD, VPMADDWD, word_dot_of
from tvm_split.passes.schedule import RULE, RULES, schedule


def cpu(name):
    return tvm.target.Target({"kind": "llvm", "mcpu": name, "num-cores": 2})


HOST = cpu(tvm.target.codegen.llvm_get_system_cpu())
NEEDS = {"x86-64": "sse2", "x86-64-v3": "avx2", "skylake-avx512": "avx512bw", "cascadelake": "avx512vnni"}
#: processors whose programs this one can run
RUN = [name for name, need in NEEDS.items() if tvm.target.codegen.target_has_features(need, HOST)] or [
    str(HOST.attrs["mcpu"])
]
BOARD = tvm.target.Target("raspberry-pi/4b-aarch64")
ZERO = np.float32(5)


def layer(x_shape, weight, target, strides, padding, dilation, pad_value, requantise):
    """The layer's PrimFunc and its packed weights."""
    packed, kernel = depthwise_int8(weight, target, strides, padding, dilation, pad_value)
    x = te.placeholder(int64(*x_shape), "uint8", "x")
    w = te.placeholder(int64(*packed.shape), str(packed.dtype), "w")
    sums = kernel(x, w)
    if not requantise:
        return te.create_prim_func([x, w, sums]), packed
    bias, scale = (te.placeholder(int64(x_shape[3]), dtype, dtype) for dtype in ("int32", "float32"))
    biased = te.compute(sums.shape, lambda n, h, w, c: sums[n, h, w, c] + bias[c], "biased")
    real = te.compute(sums.shape, lambda n, h, w, c: biased[n, h, w, c].astype("float32") * scale[c], "real")
    rounded = te.compute(sums.shape, lambda *i: te.nearbyint(real(*i)) + tirx.const(ZERO), "rounded")
    least, most = tirx.const(0.0, "float32"), tirx.const(255.0, "float32")
    codes = te.compute(sums.shape, lambda *i: te.max(te.min(rounded(*i), most), least).astype("uint8"), "codes")
    return te.create_prim_func([x, w, bias, scale, codes]), packed


def reference(x, weight, strides, padding, dilation, pad_value):
    top, left, bottom, right = padding
    data = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=pad_value).astype("int32")
    height, width, _ = weight.shape
    out = [(data.shape[1 + i] - (weight.shape[i] - 1) * dilation[i] - 1) // strides[i] + 1 for i in range(2)]
    total = np.zeros((x.shape[0], *out, x.shape[3]), "int32")
    for i in range(height):
        for j in range(width):
            rows = slice(i * dilation[0], i * dilation[0] + (out[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(j * dilation[1], j * dilation[1] + (out[1] - 1) * strides[1] + 1, strides[1])
            total += data[:, rows, columns] * weight[i, j].astype("int32")
    return total


def compiled(func, target):
    found = schedule("layer", func, target, RULES)
    return tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target), found


def check(target, x_shape, kernel, strides=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), pad_value=0, requantise=True):
    random = np.random.default_rng(sum(x_shape) + kernel[0])
    # the ends of both types are as frequent as all between them
    x = random.choice([0, 255, *random.integers(0, 256, 4)], x_shape).astype("uint8")
    weight = random.choice([-128, 127, *random.integers(-128, 128, 4)], (*kernel, x_shape[3])).astype("int8")
    func, packed = layer(x_shape, weight, target, strides, padding, dilation, pad_value, requantise)
    library, found = compiled(func, target)
    wanted = reference(x, weight, strides, padding, dilation, pad_value)
    arguments = [x, packed]
    if requantise:
        bias = random.integers(-(2**20), 2**20, x_shape[3]).astype("int32")
        scale = random.uniform(1e-5, 1e-3, x_shape[3]).astype("float32")
        wanted = np.clip(np.rint((wanted + bias).astype("float32") * scale) + ZERO, 0, 255).astype("uint8")
        arguments += [bias, scale]
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in (*arguments, np.zeros_like(wanted))]
    library.mod["main"](*tensors)
    assert np.array_equal(tensors[-1].numpy(), wanted)
    return str(found.attrs[RULE])


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize(
    "shape",
    [
        dict(x_shape=(1, 14, 14, 32), kernel=(3, 3), padding=(1, 1, 1, 1), pad_value=120),
        dict(x_shape=(1, 15, 13, 48), kernel=(3, 3), strides=(2, 2), padding=(0, 0, 1, 1), pad_value=255),
        dict(x_shape=(2, 7, 7, 16), kernel=(5, 5), padding=(2, 2, 2, 2), requantise=False),
        dict(x_shape=(1, 9, 11, 24), kernel=(5, 5), strides=(2, 2), padding=(1, 2, 2, 1), pad_value=3),
        dict(x_shape=(1, 12, 12, 20), kernel=(3, 3), dilation=(2, 2), padding=(2, 2, 2, 2), pad_value=7),
        dict(x_shape=(1, 1, 1, 1), kernel=(1, 1), pad_value=128, requantise=False),
    ],
    ids=str,
)
def test_sums_and_codes_are_exact(name, shape):
    assert check(cpu(name), **shape) == ("DepthwiseInt8" if word_dot_of(cpu(name)) else "DepthwiseWide")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_shape_is_exact(data):
    def draw(least, most):
        return data.draw(st.integers(least, most))

    kernel, strides, dilation = ((draw(1, most), draw(1, most)) for most in (6, 3, 2))
    padding = tuple(draw(0, 3) for _ in range(4))
    extents = [
        max(1, (size - 1) * step + 1 - before - after) + draw(0, 9)
        for size, step, before, after in zip(kernel, dilation, padding[:2], padding[2:], strict=True)
    ]
    check(
        cpu(data.draw(st.sampled_from(RUN))), (draw(1, 2), *extents, draw(1, 40)), kernel, strides, padding, dilation,
        draw(0, 255), data.draw(st.booleans()),
    )  # fmt: skip


def test_windows_too_large_to_write_out_are_exact():
    assert cut_of(VPMADDWD, (13, 13), (1, 1)) is None
    assert check(cpu(RUN[0]), (1, 16, 16, 16), (13, 13)) == "DepthwiseWide"


@pytest.mark.parametrize(
    "name, wanted",
    [("cascadelake", VPDPBUSD), ("alderlake", VPDPBUSD), ("skylake-avx512", VPMADDWD), ("x86-64", VPMADDWD)],
)
def test_targets_have_their_products(name, wanted):
    assert word_dot_of(cpu(name)) == wanted


@pytest.mark.parametrize(
    "name, instruction",
    [("cascadelake", "vpdpbusd"), ("skylake-avx512", "vpmaddwd"), ("haswell", "vpmaddwd"), ("x86-64", "pmaddwd")],
)
def test_the_instruction_is_used_and_nothing_is_called(name, instruction):
    weight = np.ones((3, 3, 32), "int8")
    func, _ = layer((1, 14, 14, 32), weight, cpu(name), (1, 1), (1, 1, 1, 1), (1, 1), 3, True)
    assembly = assembly_of(compiled(func, cpu(name))[0])
    assert f"\t{instruction}\t" in assembly
    assert "rint" not in assembly


def test_arm_multiplies_words_that_it_widens():
    weight = np.ones((3, 3, 32), "int8")
    func, _ = layer((1, 14, 14, 32), weight, BOARD, (1, 1), (1, 1, 1, 1), (1, 1), 3, True)
    library, found = compiled(func, BOARD)
    assert str(found.attrs[RULE]) == "DepthwiseWide"
    assembly = assembly_of(library)
    assert "\tsmlal\t" in assembly and "\tsmlal2\t" in assembly and "\tscvtf\t" in assembly


def test_results_share_words():
    three, five = cut_of(VPDPBUSD, (3, 3), (1, 1)), cut_of(VPDPBUSD, (5, 5), (2, 2))
    assert (three.results, three.words, three.step) == ((2, 2), (2, 2), (1, 1))
    assert (five.results, five.words, five.step) == ((1, 1), (3, 3), (1, 1))
    pairs = cut_of(VPMADDWD, (3, 3), (1, 2))
    assert (pairs.results, pairs.words, pairs.step) == ((2, 1), (2, 3), (1, 2))


def assembly_of(library):
    for module in (library.mod, *library.mod.imports):
        if module.kind == "llvm":
            return module.inspect_source("asm")
    raise AssertionError("no module of LLVM's")
