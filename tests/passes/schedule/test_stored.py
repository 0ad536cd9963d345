"""Kernels of codes of fewer than 8 bits: equal to those of 8 bits, small in memory and in scratch, of whole vectors."""

import re

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tvm import te

from tvm_split.passes import pack_int8
from tvm_split.passes.kernels.depthwise_int8 import depthwise_int8
from tvm_split.passes.kernels.stored import WIDTHS, code_at, decoded, pack_codes, stored, width_of
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.pack_int8 import conv2d_int8, matmul_int8
from tvm_split.passes.schedule import RULE, RULES, schedule
from tvm_split.scratch import workspace_bytes

PROCESSORS = {"x86-64": "sse2", "x86-64-v3": "avx2", "skylake-avx512": "avx512bw", "cascadelake": "avx512vnni"}
HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
RUNNABLE = [cpu for cpu, needs in PROCESSORS.items() if tvm.target.codegen.target_has_features(needs, HOST)]
BOARDS = ("cortex-a72", "cortex-a76")


def cpu(name):
    return tvm.target.Target({"kind": "llvm", "mcpu": name, "num-cores": 2})


def board(name):
    return tvm.target.Target(
        {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": name, "mattr": ["+neon"], "num-cores": 4}
    )


def codes_of(bits):
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def function(x, arrays, compute, dtype="uint8"):
    """The PrimFunc of a kernel of the data's shape and the arrays."""
    params = [te.placeholder(int64(*x), dtype, "x")]
    params += [te.placeholder(int64(*a.shape), str(a.dtype), f"w{i}") for i, a in enumerate(arrays)]
    return te.create_prim_func([*params, compute(*params)], index_dtype_override="int64")


def computed(func, target, arrays):
    """(the result, the rule that scheduled it)"""
    found = schedule("layer", func, target, RULES)
    library = tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target)
    shape, dtype = [int(n) for n in found.params[-1].ty.shape], str(found.params[-1].ty.dtype)
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(a)) for a in (*arrays, np.full(shape, 99, dtype))]
    library.mod["main"](*tensors)
    return tensors[-1].numpy(), str(found.attrs[RULE])


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 2), (-2, 1, 2), (-1, 2, 3), (-4, 3, 3), (-5, 0, 4), (-8, 7, 4), (0, 8, 6), (-32, 31, 6), (-33, 0, 8),
     (0, 32, 8), (-128, 127, 8)],
)  # fmt: skip
def test_the_width_is_that_of_the_range(low, high, bits):
    assert width_of(np.array([low, high], "int8")) == bits


def test_bits_lie_from_the_lowest_up():
    """Of 3 bits, lane by lane: the codes -4, 3, -1 are 0, 7, 3, and 0b011_111_000 lies in two bytes."""
    packed = pack_codes(np.array([[-4, 0], [3, 1], [-1, -4]], "int8"), 3)
    np.testing.assert_array_equal(packed, [[0b11111000, 0b00101100], [0b0, 0b0]])
    with pytest.raises(ValueError, match="codes from -4 to 3 do not fit 2 bits"):
        pack_codes(np.array([[-4, 3]], "int8"), 2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_what_is_packed_is_decoded(data):
    bits = data.draw(st.sampled_from(WIDTHS))
    shape = tuple(data.draw(st.integers(1, most)) for most in (3, 20, 17))
    codes = data.draw(hnp.arrays("int8", shape, elements=codes_of(bits)))
    packed = pack_codes(codes, bits)
    assert packed.shape == (shape[0], -(-shape[1] * bits // 8), shape[2])
    w = te.placeholder(int64(*packed.shape), "uint8", "w")
    restored = te.compute(
        int64(*shape), lambda t, s, v: code_at(lambda row: w[t, row, v], s, bits), "decode"
    )  # fmt: skip
    library = tvm.compile(te.create_prim_func([w, restored]), cpu("x86-64"))
    out = tvm.runtime.tensor(np.zeros(shape, "int8"))
    library["main"](tvm.runtime.tensor(packed), out)
    np.testing.assert_array_equal(out.numpy(), codes)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_weights_of_any_shape_are_restored(data):
    """As the kernels' packed weights: a step is one dimension or two, of which vectors may be whole or not."""
    bits, dims = data.draw(st.sampled_from(WIDTHS)), data.draw(st.sampled_from([1, 2]))
    shape = tuple(data.draw(st.integers(1, most)) for most in (3, 9, 12, 5))
    codes = np.random.default_rng(sum(shape)).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape).astype("int8")
    codes.flat[0] = -(2 ** (bits - 1))
    kept = stored(codes, dims, 64, once=data.draw(st.booleans()))
    w = te.placeholder(int64(*kept.array.shape), "uint8", "w")
    library = tvm.compile(te.create_prim_func([w, kept.weights(w)]), cpu("x86-64"))
    out = tvm.runtime.tensor(np.zeros(shape, "int8"))
    library["main"](tvm.runtime.tensor(kept.array), out)
    np.testing.assert_array_equal(out.numpy(), codes)


def test_codes_of_8_bits_stay_as_they_are():
    codes = np.array([[[[-128, 3]]]], "int8")
    assert stored(codes, 2, 64).array is codes


def convolution(data, bits):
    """(data's shape, kernel and its reference of the same codes at 8 bits) of a random convolution."""
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    groups = data.draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
    inner, outer = draw(1, 20), draw(1, 60 // groups) * groups
    size, stride, pad = data.draw(st.sampled_from([(1, 2, 0), (3, 1, 1), (3, 2, 1), (5, 1, 2), (2, 1, 0)]))
    height, width = draw(size, 12), draw(size, 12)
    weight = np.random.default_rng(inner).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (size, size, inner, outer))
    row = (width + 2 * pad - size) // stride + 1
    how = (row, [stride] * 2, [pad] * 4, [1, 1], groups, 7)
    return (draw(1, 2), height, width, inner * groups), weight.astype("int8"), how


def equal_to_8_bits(target, x, weight, make):
    """The kernel's result is that of the same codes held as int8, of weights that another code made 8 bits wide."""
    with pytest.MonkeyPatch.context() as patch:
        small = make(weight, target)
        patch.setattr("tvm_split.passes.kernels.stored.width_of", lambda _codes: 8)
        plain = make(weight, target)
    assert small.constants[0].dtype == "uint8" and plain.constants[0].dtype != "uint8"
    made, wanted = (
        computed(function(x.shape, kernel.constants, kernel.compute), target, [x, *kernel.constants])
        for kernel in (small, plain)
    )
    np.testing.assert_array_equal(made[0], wanted[0])
    return small, plain, made[1]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_a_convolution_is_that_of_8_bits(data):
    bits, target = data.draw(st.sampled_from(WIDTHS)), cpu(data.draw(st.sampled_from(RUNNABLE)))
    shape, weight, (row, *how) = convolution(data, bits)
    x = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    *_, rule = equal_to_8_bits(target, x, weight, lambda w, t: conv2d_int8(w, t, row, *how))
    assert rule == "Packed"


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_a_product_is_that_of_8_bits(data):
    bits, target = data.draw(st.sampled_from(WIDTHS)), cpu(data.draw(st.sampled_from(RUNNABLE)))
    rows, terms, columns = (data.draw(st.integers(1, most)) for most in (40, 70, 150))
    random = np.random.default_rng(rows)
    weight = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (terms, columns)).astype("int8")
    x = random.integers(0, 256, (rows, terms), "uint8")
    *_, rule = equal_to_8_bits(target, x, weight, lambda w, t: matmul_int8(w, t, rows))
    assert rule == "Packed"


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("rows", [1, 30])
def test_without_a_dot_product(bits, rows, monkeypatch):
    monkeypatch.setattr(pack_int8, "dot_of", lambda _target: None)
    random = np.random.default_rng(1)
    weight = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (37, 50)).astype("int8")
    x = random.integers(0, 256, (rows, 37), "uint8")
    equal_to_8_bits(cpu("x86-64"), x, weight, lambda w, t: matmul_int8(w, t, rows))
    kernel = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3, 3, 10, 40)).astype("int8")
    x = random.integers(0, 256, (1, 9, 9, 10), "uint8")
    equal_to_8_bits(
        cpu("x86-64"), x, kernel, lambda w, t: conv2d_int8(w, t, 9, [1, 1], [1] * 4, [1, 1], 1, 3)
    )  # fmt: skip


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_a_depthwise_convolution_is_that_of_8_bits(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    bits, target = data.draw(st.sampled_from(WIDTHS)), cpu(data.draw(st.sampled_from(RUNNABLE)))
    kernel, strides, dilation = ((draw(1, most), draw(1, most)) for most in (5, 3, 2))
    channels = draw(1, 40)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    shape = (draw(1, 2), *(n + draw(0, 9) for n in reach), channels)
    how = (strides, tuple(draw(0, 2) for _ in range(4)), dilation, draw(0, 255))
    random = np.random.default_rng(channels)
    weight = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (*kernel, channels)).astype("int8")
    x = random.integers(0, 256, shape, "uint8")
    results = []
    for each in (weight, None):
        with pytest.MonkeyPatch.context() as patch:
            if each is None:
                patch.setattr("tvm_split.passes.kernels.depthwise_int8.width_of", lambda _codes: 8)
            packed, compute = depthwise_int8(weight, target, *how)
        results.append(computed(function(shape, [packed], compute), target, [x, packed])[0])
        assert (packed.dtype == "uint8") == (each is not None)
    np.testing.assert_array_equal(*results)


def weights(bits, *shape):
    return np.random.default_rng(2).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape).astype("int8")


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("target", [cpu("cascadelake"), cpu("x86-64-v3"), *map(board, BOARDS)], ids=str)
def test_scratch_is_a_tile_of_channels(bits, target):
    """512 channels are several tiles; a row of data takes a step in registers, and asks for no memory at all."""
    kernel = conv2d_int8(weights(bits, 3, 3, 64, 512), target, 14, [1, 1], [0] * 4, [1, 1], 1, 0)
    found = schedule("c", function((1, 16, 16, 64), kernel.constants, kernel.compute), target, RULES)
    (tiles, *rest), cores = kernel.constants[0].shape, int(target.attrs["num-cores"])
    converted = 0 if "cascadelake" in str(target) else 16 * 20 * 64 * 2  # of data, with whole tiles of pixels
    (scratch,) = workspace_bytes(tvm.IRModule({"c": found}), target).values()
    decoded_bytes = np.prod(rest) * 8 // bits
    assert tiles > 1 and decoded_bytes * cores <= scratch <= (decoded_bytes + converted) * cores
    assert 0 <= kernel.constants[0].nbytes - 3 * 3 * 64 * 512 * bits // 8 < decoded_bytes

    product = matmul_int8(weights(bits, 320, 1024), target, 1)
    found = schedule("m", function((1, 320), product.constants, product.compute), target, RULES)
    (scratch,) = workspace_bytes(tvm.IRModule({"m": found}), target).values()
    assert str(found.attrs[RULE]) == "Packed" and scratch <= 2 * 320


def assembly(func, target):
    found = schedule("layer", func, target, RULES)
    library = tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target)
    return next(m for m in (library.mod, *library.mod.imports) if m.kind == "llvm").inspect_source("asm")


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(
    ("target", "dot", "mask"),
    [(cpu("cascadelake"), r"vpdpbusd", r"vp(and|tern)\w*\t.*[yz]mm"),
     (board("cortex-a72"), r"smull2?", r"and\t.*v\d+\.(8|16)b"), (board("cortex-a76"), r"sdot", r"and\t.*v\d+\.16b")],
    ids=["vnni", "smull", "sdot"],
)  # fmt: skip
def test_codes_are_decoded_in_vectors(bits, target, dot, mask):
    """For a tile, and in registers for one row; bytes are never taken one by one."""
    conv = conv2d_int8(weights(bits, 3, 3, 32, 64), target, 14, [1, 1], [0] * 4, [1, 1], 1, 0)
    row = matmul_int8(weights(bits, 320, 1024), target, 1)
    for shape, kernel in (((1, 16, 16, 32), conv), ((1, 320), row)):
        code = assembly(function(shape, kernel.constants, kernel.compute), target)
        assert re.search(rf"\t{dot}\t", code) and re.search(mask, code)
        assert not re.search(r"vpinsrb|vpextrb|\tmov\tv\d+\.b\[", code)


@pytest.mark.parametrize("name", BOARDS)
def test_depthwise_on_a_board(name):
    packed, compute = depthwise_int8(weights(4, 3, 3, 48), board(name), (1, 1), (1,) * 4, (1, 1), 3)
    assert packed.shape == (5, 48)
    func = function((1, 14, 14, 48), [packed], compute)
    assert str(schedule("layer", func, board(name), RULES).attrs[RULE]) == "DepthwiseWide"
    assert re.search(r"\tsmlal2?\t", assembly(func, board(name)))


@pytest.mark.parametrize("size", [1, 3])
def test_instructions_of_several_pixels(size):
    """usmmla's sums lie together in memory, whose dimensions are not the result's."""
    target = tvm.target.Target(
        {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "neoverse-v1", "mattr": ["+neon", "+i8mm"]}
    )
    if size == 1:
        kernel, shape = matmul_int8(weights(4, 64, 96), target, 56), (56, 64)
    else:
        kernel = conv2d_int8(weights(4, 3, 3, 64, 96), target, 14, [1, 1], [1] * 4, [1, 1], 1, 3)
        shape = (1, 14, 14, 64)
    func = function(shape, kernel.constants, kernel.compute)
    assert str(schedule("layer", func, target, RULES).attrs[RULE]) == "Packed"
    assert re.search(r"\tusmmla\t", assembly(func, target))


def test_float_kernels_may_decode():
    """The stage gives codes of any type: a scale makes weights of them."""
    codes = weights(3, 2, 5, 8)
    w, scale = te.placeholder(int64(2, 2, 8), "uint8", "w"), te.placeholder(int64(8), "float32", "scale")
    back = decoded(w, (2, 5, 8), 3, 8, "float32")
    real = te.compute(back.shape, lambda t, k, o: back[t, k, o] * scale[o])
    library = tvm.compile(te.create_prim_func([w, scale, real]), cpu("x86-64"))
    scales, out = np.arange(8, dtype="float32"), tvm.runtime.tensor(np.zeros((2, 5, 8), "float32"))
    library["main"](tvm.runtime.tensor(pack_codes(codes, 3)), tvm.runtime.tensor(scales), out)
    np.testing.assert_array_equal(out.numpy(), codes * scales)
