"""The rule for packed kernels: right for every shape, epilogue and processor, and vectors in the machine code."""

import re

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.matmul import matmul_packed, pack_matmul
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.machine import machine_of
from tvm_split.passes.schedule.packed import Packed
from tvm_split.passes.schedule.tiles import tile_of

AVX512, AVX2 = ({"kind": "llvm", "mcpu": mcpu, "num-cores": 2} for mcpu in ("skylake-avx512", "haswell"))
CPU = tvm.target.codegen.llvm_get_system_cpu()
UNIT = 2.0**-24  # what rounding to float32 loses of a number, relative

# batch, height, width, channels in and out, kernel, stride, padding (top, left, bottom, right), dilation, groups
CONVOLUTIONS = {
    "efficientnet_stem": (1, 32, 32, 3, 32, 3, 2, (0, 0, 1, 1), 1, 1),
    "resnet_stem": (1, 30, 30, 3, 64, 7, 2, (3, 3, 3, 3), 1, 1),
    "yolox_stem": (1, 26, 26, 12, 24, 3, 1, (1, 1, 1, 1), 1, 1),
    "resnet_56": (1, 14, 56, 64, 64, 3, 1, (1, 1, 1, 1), 1, 1),
    "resnet_7": (1, 7, 7, 64, 128, 3, 1, (1, 1, 1, 1), 1, 1),
    "resnet_stride": (1, 14, 14, 32, 64, 3, 2, (1, 1, 1, 1), 1, 1),
    "resnet_downsample": (2, 14, 14, 64, 96, 1, 2, (0, 0, 0, 0), 1, 1),
    "yolox_13": (1, 13, 13, 96, 96, 3, 1, (1, 1, 1, 1), 1, 1),
    "yolox_head": (1, 13, 13, 96, 27, 3, 1, (1, 1, 1, 1), 1, 1),
    "vgg": (1, 14, 14, 128, 112, 3, 1, (1, 1, 1, 1), 1, 1),
    "kernel_5": (1, 14, 14, 24, 40, 5, 1, (2, 2, 2, 2), 1, 1),
    "kernel_5_stride": (2, 15, 17, 8, 24, 5, 2, (2, 2, 2, 2), 1, 1),
    "dilated": (1, 16, 16, 16, 32, 3, 1, (2, 2, 2, 2), 2, 1),
    "not_padded": (1, 21, 21, 16, 40, 3, 1, (0, 0, 0, 0), 1, 1),
    "grouped": (1, 12, 12, 64, 96, 3, 1, (1, 1, 1, 1), 1, 4),
    "row_of_one": (1, 9, 3, 8, 16, 3, 1, (1, 0, 1, 0), 1, 1),
    "one_channel": (1, 10, 10, 1, 1, 3, 1, (1, 1, 1, 1), 1, 1),
}
# leading dimensions, terms, columns
PRODUCTS = {
    "conv_1x1": ((1, 56, 56), 24, 144), "conv_1x1_tail": ((1, 7, 7), 64, 40), "conv_1x1_batch": ((3, 5, 5), 40, 112),
    "conv_1x1_320": ((1, 7, 7), 112, 320), "prime_rows": ((197,), 96, 96), "heads": ((2, 13, 13), 32, 85),
    "classifier": ((1,), 320, 1000), "gemv_odd": ((1,), 33, 27), "recogniser": ((1, 40), 24, 6625),
    "few_rows": ((3,), 64, 64), "column": ((5, 2), 16, 1),
}  # fmt: skip


def epilogue_none(result, _other):
    return result


def elementwise(function, dtype="float32"):
    return lambda result, other: te.compute(result.shape, lambda *i: function(result(*i), other(*i)).astype(dtype))


def silu(result, _other):
    sigmoid = te.compute(result.shape, lambda *i: te.sigmoid(result(*i)))
    return te.compute(result.shape, lambda *i: result(*i) * sigmoid(*i))


def hard_swish(result, _other):
    gate = te.compute(result.shape, lambda *i: te.max(te.min(result(*i) + 3.0, 6.0), 0.0))
    product = te.compute(result.shape, lambda *i: result(*i) * gate(*i))
    return te.compute(result.shape, lambda *i: product(*i) / 6.0)


def reshape(result, _other):
    relu = te.compute(result.shape, lambda *i: te.max(result(*i), 0.0))
    count = int(np.prod([int(extent) for extent in result.shape]))

    def element(flat):
        index = []
        for extent in reversed(relu.shape):
            index.insert(0, te.indexmod(flat, extent))
            flat = te.indexdiv(flat, extent)
        return relu(*index)

    return te.compute(int64(count), element)


def row_sum(result, _other):
    k = te.reduce_axis((0, int(result.shape[-1])), "k")
    return te.compute(result.shape[:-1], lambda *i: te.sum(result(*i, k), axis=k))


EPILOGUES = {
    "none": epilogue_none,
    "relu": elementwise(lambda x, _: te.max(x, 0.0)),
    "clip": elementwise(lambda x, _: te.max(te.min(x, 6.0), 0.0)),
    "residual": elementwise(lambda x, y: te.max(x + y, 0.0)),
    "leaky": elementwise(lambda x, _: tirx.Select(x > 0.0, x, x * 0.1)),
    "cast": elementwise(lambda x, _: te.max(te.min(te.round(x), 127.0), -128.0), "int8"),
    "hard_swish": hard_swish,
    "silu": silu,
    "reshape": reshape,
}


def neighbours(result, _other):
    """Reads the sums of another tile, so they cannot be made where they are read."""
    channels = int(result.shape[-1])
    return te.compute(result.shape, lambda *i: result(*i) + result(*i[:-1], te.indexmod(i[-1] * 7 + 3, channels)))


NOT_UNDERSTOOD = {"row_sum": row_sum, "neighbours": neighbours}


def with_epilogue(params, result, epilogue):
    """The kernel plus a bias, then what is to follow."""
    bias = te.placeholder(int64(int(result.shape[-1])), "float32", name="bias")
    other = te.placeholder(result.shape, "float32", name="other")
    biased = te.compute(result.shape, lambda *i: result(*i) + bias[i[-1]])
    return te.create_prim_func([*params, bias, other, (EPILOGUES | NOT_UNDERSTOOD)[epilogue](biased, other)])


def convolution(case, target, epilogue="relu"):
    batch, height, width, inner, outer, kernel, stride, padding, dilation, groups = CONVOLUTIONS[case]
    reach = (kernel - 1) * dilation + 1
    row = (width + padding[1] + padding[3] - reach) // stride + 1
    tile = tile_of(machine_of(target), row, outer // groups, kernel**2 * inner // groups, "float32", exact=groups > 1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, height, width, inner)).astype("float32")
    w = rng.standard_normal((kernel, kernel, inner // groups, outer)).astype("float32")
    packed = pack_conv2d(w, tile.channels)
    data = te.placeholder(int64(*x.shape), "float32", name="data")
    weight = te.placeholder(int64(*packed.shape), "float32", name="weight")
    result = conv2d_packed(data, weight, outer, tile, (stride,) * 2, padding, (dilation,) * 2, groups)
    return with_epilogue([data, weight], result, epilogue), x, w, packed, result.shape


def product(case, target, epilogue="relu"):
    leading, terms, columns = PRODUCTS[case]
    tile = tile_of(machine_of(target), int(np.prod(leading)), columns, terms, "float32", copies=True)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*leading, terms)).astype("float32")
    w = rng.standard_normal((terms, columns)).astype("float32")
    packed = pack_matmul(w, tile.channels)
    data = te.placeholder(int64(*x.shape), "float32", name="data")
    weight = te.placeholder(int64(*packed.shape), "float32", name="weight")
    result = matmul_packed(data, weight, columns, tile)
    return with_epilogue([data, weight], result, epilogue), x, w, packed, result.shape


def scheduled(func, target):
    sch = Packed().apply(func, tvm.target.Target(target), False)
    assert sch is not None
    return sch.mod


def compute(mod, target, arrays):
    """The last argument's array after a run; it begins as not-a-number, so an element left out shows."""
    last = mod["main"].params[-1]
    out = np.full([int(extent) for extent in last.shape], 99, str(last.dtype))
    if out.dtype.kind == "f":
        out.fill(np.nan)
    args = [tvm.runtime.tensor(array) for array in (*arrays, out)]
    tvm.compile(mod, target=tvm.target.Target(target)).mod["main"](*args)
    return args[-1].numpy()


def sums_in_float64(case, x, w):
    """The exact result to 1e-14 and the sum of the products' magnitudes."""
    if case in PRODUCTS:
        return x.astype("float64") @ w, np.abs(x).astype("float64") @ np.abs(w)
    batch, _, _, inner, outer, kernel, stride, padding, dilation, groups = CONVOLUTIONS[case]
    top, left, bottom, right = padding
    wide = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))).astype("float64")
    reach = (kernel - 1) * dilation + 1
    rows, columns = ((extent - reach) // stride + 1 for extent in wide.shape[1:3])
    total = np.zeros((2, batch, rows, columns, outer))
    for kh in range(kernel):
        for kw in range(kernel):
            h, w_ = kh * dilation, kw * dilation
            part = wide[:, h : h + rows * stride : stride, w_ : w_ + columns * stride : stride][:, :rows, :columns]
            for g in range(groups):
                i = slice(g * inner // groups, (g + 1) * inner // groups)
                o = slice(g * outer // groups, (g + 1) * outer // groups)
                total[0][..., o] += part[..., i] @ w[kh, kw][:, o]
                total[1][..., o] += np.abs(part[..., i]) @ np.abs(w[kh, kw][:, o])
    return total[0], total[1]


@pytest.mark.parametrize("target", [AVX512, AVX2], ids=["avx512", "avx2"])
@pytest.mark.parametrize("case", [*CONVOLUTIONS, *PRODUCTS])
def test_within_the_bound_of_the_sum(case, target):
    build = convolution if case in CONVOLUTIONS else product
    func, x, w, packed, shape = build(case, tvm.target.Target(target))
    if not runs(target):
        pytest.skip(f"this machine is no {target['mcpu']}")
    rng = np.random.default_rng(1)
    bias = rng.standard_normal(w.shape[-1]).astype("float32")
    other = np.zeros([int(extent) for extent in shape], "float32")
    found = compute(scheduled(func, target), target, [x, packed, bias, other])
    exact, magnitude = sums_in_float64(case, x, w)
    terms = int(np.prod(w.shape[:-1])) + 2
    assert (np.abs(found - np.maximum(exact + bias, 0)) <= terms * UNIT * 1.01 * (magnitude + np.abs(bias))).all()


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("case", ["kernel_5", "yolox_head", "conv_1x1_tail", "conv_1x1_batch", "heads"])
def test_the_unscheduled_kernel_bit_for_bit(case, epilogue):
    build = convolution if case in CONVOLUTIONS else product
    func, x, w, packed, shape = build(case, tvm.target.Target(AVX2), epilogue)
    rng = np.random.default_rng(1)
    arrays = [x, packed, rng.standard_normal(w.shape[-1]).astype("float32"),
              rng.standard_normal([int(extent) for extent in shape]).astype("float32")]  # fmt: skip
    ours = compute(scheduled(func, AVX2), AVX2, arrays)
    plain = compute(tvm.IRModule({"main": func}), AVX2, arrays)
    if epilogue in ("silu", "hard_swish"):  # their last products may be contracted in another way
        np.testing.assert_allclose(ours, plain, rtol=8 * UNIT, atol=1e-30)
    else:
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("case", ["resnet_56", "kernel_5", "conv_1x1", "classifier"])
def test_arm_code_multiplies_vectors(case):
    target = tvm.target.Target("raspberry-pi/4b-aarch64")
    build = convolution if case in CONVOLUTIONS else product
    func, *_ = build(case, target)
    assembly = tvm.compile(scheduled(func, target), target=target).mod.inspect_source("s")
    assert len(re.findall(r"\tfmla\tv\d+\.4s", assembly)) >= 8


@pytest.mark.parametrize("case", ["resnet_56", "vgg", "conv_1x1", "conv_1x1_tail", "not_padded"])
def test_avx512_code_adds_whole_vectors(case):
    target = tvm.target.Target(AVX512)
    build = convolution if case in CONVOLUTIONS else product
    func, *_ = build(case, target)
    assembly = tvm.compile(scheduled(func, target), target=target).mod.inspect_source("s")
    vectors = len(re.findall(r"\tvfmadd\w+ps\t.*zmm", assembly))
    scalars = len(re.findall(r"\tvfmadd\w+ss\t", assembly))
    assert vectors >= 8 and scalars == 0


@pytest.mark.parametrize("case", ["heads", "yolox_head"])
def test_whole_tiles_are_written_in_vectors_where_none_divides_the_channels(case):
    target = tvm.target.Target(AVX2)
    func, *_ = (convolution if case in CONVOLUTIONS else product)(case, target)
    body = scheduled(func, target)["main"].script()
    written = body.index("_whole")
    assert "T.vectorized(T.int64(8))" in body[:written].rsplit("for ", 1)[1]
    assert "else:" in body[written:]  # the last tile, channel by channel


def test_other_functions_are_left_alone():
    x = te.placeholder((8, 8), "float32", name="x")
    plain = te.create_prim_func([x, te.compute((8, 8), lambda i, j: x[i, j] + 1.0)])
    assert Packed().apply(plain, tvm.target.Target(AVX2), False) is None


@pytest.mark.parametrize("epilogue", NOT_UNDERSTOOD)
def test_what_follows_may_be_something_else(epilogue):
    func, *_ = product("classifier", tvm.target.Target(AVX2), epilogue)
    assert Packed().apply(func, tvm.target.Target(AVX2), False) is None


@pytest.mark.parametrize("case", ["resnet_56", "conv_1x1_tail"])
def test_one_parallel_region_and_no_buffer_of_the_whole_result(case):
    build = convolution if case in CONVOLUTIONS else product
    func, *_ = build(case, tvm.target.Target(AVX2), "hard_swish")
    script = scheduled(func, AVX2).script()
    assert script.count("T.parallel") == 1
    assert re.findall(r"(\w+) = T.sblock_alloc_buffer", script) == ["pad", "sums"]


def runs(target):
    needs = {"skylake-avx512": "avx512f", "haswell": "avx2"}[target["mcpu"]]
    return tvm.target.codegen.target_has_features(needs, tvm.target.Target({"kind": "llvm", "mcpu": CPU}))
