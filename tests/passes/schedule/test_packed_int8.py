"""The rule for packed kernels on integers: the fused layer exact to the last bit, and good machine code."""

import re

import numpy as np
import pytest
import tvm
from tvm import te, tirx
from tvm.script.ir_builder import tirx as T

from tvm_split.passes import pack_int8
from tvm_split.passes.kernels.conv2d import term
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.pack_int8 import conv2d_int8, matmul_int8
from tvm_split.passes.schedule.dot import Dot, register
from tvm_split.passes.schedule.dot_kinds import DOTS
from tvm_split.passes.schedule.dot_x86 import SSE2_WORDS
from tvm_split.passes.schedule.packed import Packed

PROCESSORS = {"x86-64": "sse2", "haswell": "avx2", "skylake-avx512": "avx512bw", "cascadelake": "avx512vnni"}
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
RUNNABLE = [cpu for cpu, needs in PROCESSORS.items() if tvm.target.codegen.target_has_features(needs, HOST)]
ZERO = 3  # the result's zero point

# batch, height, width, channels in and out, kernel, stride, padding, groups
CONVOLUTIONS = {
    "stem": (1, 30, 30, 3, 32, 7, 2, 3, 1),
    "small_stem": (2, 16, 18, 3, 24, 3, 2, 1, 1),
    "resnet_56": (1, 6, 56, 64, 64, 3, 1, 1, 1),
    "resnet_7": (1, 7, 7, 64, 128, 3, 1, 1, 1),
    "downsample": (2, 14, 14, 64, 96, 1, 2, 0, 1),
    "head": (1, 13, 13, 32, 27, 3, 1, 1, 1),
    "odd_channels": (1, 9, 11, 13, 21, 3, 1, 1, 1),
    "grouped": (1, 12, 12, 64, 96, 3, 1, 1, 4),
    "one_channel": (1, 10, 10, 8, 1, 3, 1, 1, 1),
}
# rows, terms, columns
PRODUCTS = {
    "conv_1x1": ((1, 14, 14), 24, 144), "conv_1x1_tail": ((1, 7, 7), 64, 40), "classifier": ((1,), 320, 1000),
    "odd_terms": ((5, 3), 21, 33), "narrow": ((1, 20, 20), 96, 24),
}  # fmt: skip
CASES = [*CONVOLUTIONS, *PRODUCTS]


def cpu(name):
    return tvm.target.Target({"kind": "llvm", "mcpu": name, "num-cores": 2})


def sums(case, target):
    """(the kernel's arguments, its result, the arrays, the exact sums)"""
    rng = np.random.default_rng(0)
    if case in PRODUCTS:
        leading, terms, columns = PRODUCTS[case]
        x, w = rng.integers(0, 256, (*leading, terms), "uint8"), rng.integers(-128, 128, (terms, columns), "int8")
        kernel, total = matmul_int8(w, target, int(np.prod(leading))), x.astype("int64") @ w
    else:
        batch, height, width, inner, outer, size, stride, pad, groups = CONVOLUTIONS[case]
        x = rng.integers(0, 256, (batch, height, width, inner), "uint8")
        w = rng.integers(-128, 128, (size, size, inner // groups, outer), "int8")
        row = (width + 2 * pad - size) // stride + 1
        kernel = conv2d_int8(w, target, row, [stride] * 2, [pad] * 4, [1, 1], groups, 128)
        wide = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=128).astype("int64")
        rows = (height + 2 * pad - size) // stride + 1
        total = np.zeros((batch, rows, row, outer), "int64")
        for kh, kw, g in np.ndindex(size, size, groups):
            part = wide[:, kh::stride, kw::stride][:, :rows, :row]
            i, o = (slice(g * n // groups, (g + 1) * n // groups) for n in (inner, outer))
            total[..., o] += part[..., i] @ w[kh, kw][:, o]
    arrays = [x, *kernel.constants]
    params = [te.placeholder(int64(*a.shape), str(a.dtype), name=f"x{i}") for i, a in enumerate(arrays)]
    return params, kernel.compute(*params), arrays, total


def each(function, *tensors):
    return te.compute(tensors[0].shape, lambda *i: function(*(t(*i) for t in tensors)))


def layer(case, target, residual=False):
    """(the function of a quantised layer, its arrays, what it must compute): bias, scale, residual, codes."""
    params, result, arrays, total = sums(case, target)
    channels = total.shape[-1]
    rng = np.random.default_rng(1)
    bias = rng.integers(-1000, 1000, channels, "int32")
    scale = (rng.random(channels) * 100 / np.abs(total).max()).astype("float32")
    other = rng.standard_normal(total.shape).astype("float32") * 20
    extra = [bias, scale, *([other] if residual else [])]
    more = [te.placeholder(int64(*a.shape), str(a.dtype), name=f"y{i}") for i, a in enumerate(extra)]
    biased = te.compute(result.shape, lambda *i: result(*i) + more[0][i[-1]])
    wide = each(lambda x: x.astype("float32"), biased)
    scaled = te.compute(result.shape, lambda *i: wide(*i) * more[1][i[-1]])
    level = (total + bias).astype("float32") * scale
    if residual:
        scaled, level = each(lambda x, y: x + y, scaled, more[2]), level + other
    codes = each(lambda x: x + tirx.const(float(ZERO), "float32"), each(tirx.round, scaled))
    clipped = each(lambda x: te.max(te.min(x, tirx.const(255.0, "float32")), tirx.const(0.0, "float32")), codes)
    out = each(lambda x: x.astype("uint8"), clipped)
    func = te.create_prim_func([*params, *more, out], index_dtype_override="int64")
    return func, [*arrays, *extra], np.clip(np.rint(level) + ZERO, 0, 255).astype("uint8")


def scheduled(func, target):
    sch = Packed().apply(func, target, False)
    assert sch is not None
    return sch.mod


def compute(mod, target, arrays, shape):
    out = tvm.runtime.tensor(np.full(shape, 99, "uint8"))
    tvm.compile(mod, target=target).mod["main"](*(tvm.runtime.tensor(array) for array in arrays), out)
    return out.numpy()


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("case", CASES)
def test_a_quantised_layer_is_exact(case, name):
    func, arrays, expected = layer(case, cpu(name))
    np.testing.assert_array_equal(compute(scheduled(func, cpu(name)), cpu(name), arrays, expected.shape), expected)


@pytest.mark.parametrize("case", CASES)
def test_without_a_dot_product_a_layer_is_exact(case, monkeypatch):
    monkeypatch.setattr(pack_int8, "dot_of", lambda _target: None)
    target = cpu("x86-64")
    func, arrays, expected = layer(case, target)
    assert "tvm_split.dot" not in func.script()
    np.testing.assert_array_equal(compute(scheduled(func, target), target, arrays, expected.shape), expected)


def _of_two_pixels(dot, lanes, a, b, c):
    """Two pixels by two channels, eight terms of each, as usmmla has them; here spelt out."""
    for p, lane in np.ndindex(dot.pixels, lanes):
        products = [term(a[p, k], b[lane, k]) for k in range(dot.terms)]
        T.buffer_store(c, sum(products, c[p, lane]), [p, lane])


@pytest.mark.parametrize(
    ("case", "name"),
    [("resnet_56", "test_two"), ("grouped", "test_two"), ("conv_1x1", "test_two"), ("narrow", "test_two"),
     ("downsample", "sse2"), ("stem", "sse2"), ("odd_terms", "test_two"),
     ("classifier", "sse2")],
)  # fmt: skip
def test_instructions_of_several_pixels_where_these_are_side_by_side(case, name, monkeypatch):
    dot = register(Dot("test_two", terms=8, lanes=(2,), pixels=2, data="int8", single=SSE2_WORDS), _of_two_pixels)
    monkeypatch.setattr(pack_int8, "dot_of", lambda _target: dot)
    monkeypatch.setitem(DOTS, dot.name, dot)
    target = cpu("x86-64")
    func, arrays, expected = layer(case, target)
    mod = scheduled(func, target)
    assert f'"tvm_split.dot": "{name}"' in func.script()
    np.testing.assert_array_equal(compute(mod, target, arrays, expected.shape), expected)


@pytest.mark.parametrize("case", ["resnet_7", "conv_1x1_tail"])
def test_a_residual_is_added_in_the_same_kernel(case):
    target = cpu("haswell")
    func, arrays, _ = layer(case, target, residual=True)
    mod = scheduled(func, target)
    assert mod["main"].script().count("T.parallel") == 1
    # The product and the residual may be contracted, so the kernel as written is the measure.
    plain, shape = tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), arrays[-1].shape
    assert np.abs(compute(mod, target, arrays, shape).astype(int) - compute(plain, target, arrays, shape)).max() <= 1


def assembly(case, name):
    func, *_ = layer(case, cpu(name))
    return tvm.compile(scheduled(func, cpu(name)), target=cpu(name)).mod.inspect_source("s")


@pytest.mark.parametrize("case", ["stem", "resnet_56", "resnet_7", "conv_1x1", "classifier"])
@pytest.mark.parametrize(
    ("name", "instruction"),
    [("haswell", r"vpmaddwd\t.*ymm"), ("skylake-avx512", r"vpmaddwd\t.*zmm"), ("cascadelake", r"vpdpbusd\t.*zmm"),
     ("alderlake", r"{vex}\s+vpdpbusd\t.*ymm")],
)  # fmt: skip
def test_sums_are_made_by_dot_products_in_registers(case, name, instruction):
    code = assembly(case, name)
    assert len(re.findall(instruction, code)) >= 6
    assert not re.search(rf"{instruction}.*rsp", code)


@pytest.mark.parametrize("case", ["resnet_56", "conv_1x1", "narrow"])
@pytest.mark.parametrize("name", ["haswell", "cascadelake"])
def test_codes_are_made_in_vectors(case, name):
    code = assembly(case, name)
    vectors = r"vcvtdq2ps\t.*[yz]mm", r"v(rndscaleps|roundps)\t.*[yz]mm", r"vcvttps2dq\t.*[yz]mm"
    assert all(re.search(vector, code) for vector in vectors)
    assert not re.search(r"call\w*\s+\w*(nearbyint|rint|round)|vroundss|vrndscaless|vpgather|vcvttss2si", code)
