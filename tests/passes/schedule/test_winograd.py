"""The rule for Winograd convolutions: right for every shape and processor, and vectors in the machine code."""

import re

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from tvm_split.passes.kernels.conv2d_winograd import conv2d_winograd, pack_winograd
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.bands import Blocks, band_of, band_time, group_of
from tvm_split.passes.schedule.machine import machine_of
from tvm_split.passes.schedule.winograd import Winograd

AVX512, AVX2, SSE2 = (
    {"kind": "llvm", "mcpu": mcpu, "num-cores": 2} for mcpu in ("skylake-avx512", "haswell", "x86-64")
)
ARM = "raspberry-pi/4b-aarch64"
CPU = tvm.target.codegen.llvm_get_system_cpu()
PADDED = (1, 1, 1, 1)

# batch, height, width, channels in and out, padding (top, left, bottom, right)
CASES = {
    "even": (1, 8, 8, 16, 32, PADDED),
    "odd": (1, 7, 9, 16, 32, PADDED),
    "images": (3, 5, 6, 8, 16, PADDED),
    "one_block": (1, 4, 4, 4, 4, (0, 0, 0, 0)),
    "one_row": (1, 3, 30, 8, 16, (0, 1, 0, 1)),
    "uneven_padding": (1, 6, 11, 12, 20, (2, 0, 1, 3)),
    "ragged_channels": (1, 10, 10, 20, 132, PADDED),
    "many_bands": (1, 40, 12, 64, 48, PADDED),
}


def function(case, target, rows=None):
    """The kernel with a bias, a residual and ReLU; the machine's own band unless `rows` are given."""
    batch, height, width, inner, channels, padding = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, height, width, inner)).astype("float32")
    w = rng.standard_normal((3, 3, inner, channels)).astype("float32")
    out_h, out_w = height + padding[0] + padding[2] - 2, width + padding[1] + padding[3] - 2
    tile, band = band_of(machine_of(target), Blocks(batch, -(-out_h // 2), -(-out_w // 2), inner, channels))
    packed = pack_winograd(w, tile.channels)
    data, weight = (te.placeholder(int64(*each.shape), "float32") for each in (x, packed))
    made = conv2d_winograd(data, weight, channels, tile, rows or band, padding)
    bias, other = te.placeholder(int64(channels), "float32"), te.placeholder(made.shape, "float32")
    biased = te.compute(made.shape, lambda *i: made(*i) + bias[i[-1]])
    result = te.compute(made.shape, lambda *i: te.max(biased(*i) + other(*i), 0.0))
    b, o = (rng.standard_normal([int(n) for n in each.shape]).astype("float32") for each in (bias, other))
    return te.create_prim_func([data, weight, bias, other, result]), [x, packed, b, o], w


def computed(func, target, arrays):
    """The result of a run that begins as not-a-number, so that an element left out shows."""
    shape = [int(n) for n in func.params[-1].ty.shape]
    tensors = [*map(tvm.runtime.tensor, arrays), tvm.runtime.tensor(np.full(shape, np.nan, "float32"))]
    tvm.compile(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target).mod["main"](*tensors)
    return tensors[-1].numpy()


def scheduled(func, target):
    found = Winograd().apply(func, target, False)
    assert found is not None
    return found.mod["main"]


def exact(x, w, padding, bias, other):
    """In float64, and the same of magnitudes."""
    top, left, bottom, right = padding
    wide = np.pad(x.astype("float64"), ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))
    sums = [np.einsum("nhwcij,ijco->nhwo", f(windows), f(w.astype("float64")), optimize=True) for f in (np.array, abs)]
    return np.maximum(sums[0] + bias + other, 0), sums[1] + abs(bias) + abs(other)


def runs(target):
    host = tvm.target.Target({"kind": "llvm", "mcpu": CPU})
    feature = {"skylake-avx512": "avx512f", "haswell": "avx2"}.get(str(target.attrs["mcpu"]), "sse2")
    return tvm.target.codegen.target_has_features(feature, host)


def check(case, rows=None):
    """Within what rounding can do on every processor that runs here; the same bits on all with FMA and as written."""
    results = {}
    for options in (AVX512, AVX2, SSE2):
        target = tvm.target.Target(options)
        func, (x, packed, bias, other), w = function(case, target, rows)
        if not runs(target):
            continue
        found = computed(scheduled(func, target), target, [x, packed, bias, other])
        wanted, magnitude = exact(x, w, case[-1], bias, other)
        # a term goes through at most 4 additions before its product and 6 behind the sum; each sum may hold 4 times
        # the magnitude of a patch, and the kernel's transform keeps the largest weight
        bound = 2.0**-24 * (case[3] + 16) * 16 * magnitude.max()
        assert (abs(found - wanted) <= bound).all()
        if options is not SSE2:
            results[str(options["mcpu"])] = found
        if options is AVX2:
            results["as written"] = computed(func, target, [x, packed, bias, other])
    first, *rest = results.values()
    for other in rest:
        np.testing.assert_array_equal(first.view("uint32"), other.view("uint32"))


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_right_and_the_same_on_every_processor(case):
    check(CASES[case])


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_shape(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    padding = tuple(draw(0, 2) for _ in range(4))
    check((draw(1, 2), draw(3, 13), draw(3, 13), 4 * draw(1, 9), 4 * draw(1, 17), padding), draw(1, 8))


def test_arm_is_scheduled_too():
    for case in CASES.values():
        target = tvm.target.Target(ARM)
        func, _, _ = function(case, target)
        found = scheduled(func, target)
        assert found.script().count("T.parallel") >= 1
        built = tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target)
        words = [line.split() for line in built.mod.inspect_source("asm").splitlines() if line.strip()]
        products = [line for line in words if line[0] in ("fmla", "fmul", "fmadd")]
        assert products and all(".4s" in line[1] or ".2s" in line[1] for line in products)  # none of single numbers


def test_the_kernel_has_one_parallel_loop_and_products_of_vectors():
    target = tvm.target.Target(AVX512)
    func, _, _ = function((1, 14, 14, 64, 64, PADDED), target)
    found = scheduled(func, target)
    assert found.script().count("T.parallel") == 1
    built = tvm.compile(tvm.IRModule({"main": found.with_attr("global_symbol", "main")}), target)
    lines = built.mod.inspect_source("asm").splitlines()
    products = [line for line in lines if re.match(r"\s+vf?n?m(add|sub)", line)]
    assert len(products) >= 14 and all("ps" in line.split()[0] and "zmm" in line for line in products)


def test_other_functions_are_left_alone():
    x = te.placeholder(int64(4, 4), "float32")
    func = te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + 1.0)])
    assert Winograd().apply(func, tvm.target.Target(AVX2), False) is None


def test_more_cores_get_more_tasks():
    """Of seven rows of blocks and eight tiles of channels, a task takes all on one core and a part on four."""
    blocks = Blocks(1, 7, 7, 256, 256)
    tasks = []
    for cores in (1, 4):
        machine = machine_of(tvm.target.Target(AVX512 | {"num-cores": cores}))
        tile, rows = band_of(machine, blocks)
        group = group_of(machine, blocks, tile, rows)
        tasks.append(-(-7 // rows) * (-(-256 // tile.channels) // group))
        assert band_time(machine, blocks, tile, rows, group) <= band_time(machine, blocks, tile, rows, 1)
    assert tasks[0] == 1 and tasks[1] >= 4
