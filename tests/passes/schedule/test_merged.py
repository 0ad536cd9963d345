"""Convolutions over merged rows: the very sums of those that take rows one by one, for every shape."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from tvm_split.passes.divisors import SPARE, divisors, even
from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.conv2d_merged import conv2d_merged
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.packed import Packed
from tvm_split.passes.schedule.tiles import Tile

HOST = {"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2}
UNIT = 2.0**-24


def convolution(kernel, x, w, tile, stride, padding, dilation, target=HOST):
    """relu(conv2d + residual), scheduled; the residual is 1 everywhere."""
    packed = pack_conv2d(w, tile.channels)
    data = te.placeholder(int64(*x.shape), "float32", name="data")
    weight = te.placeholder(int64(*packed.shape), "float32", name="weight")
    sums = kernel(data, weight, w.shape[-1], tile, stride, padding, dilation)
    other = te.placeholder(sums.shape, "float32", name="other")
    out = te.compute(sums.shape, lambda *i: te.max(sums(*i) + other(*i), 0.0))
    sch = Packed().apply(te.create_prim_func([data, weight, other, out]), tvm.target.Target(target), False)
    assert sch is not None
    return sch, packed, [int(extent) for extent in sums.shape]


def result(kernel, x, w, *args):
    sch, packed, shape = convolution(kernel, x, w, *args)
    ones, out = np.ones(shape, "float32"), np.full(shape, np.nan, "float32")
    tensors = [tvm.runtime.tensor(array) for array in (x, packed, ones, out)]
    tvm.compile(sch.mod, target=tvm.target.Target(HOST)).mod["main"](*tensors)
    return tensors[-1].numpy()


def exact(x, w, stride, padding, dilation):
    """In float64: the result, and the sum of the magnitudes of what is added."""
    wide = np.pad(x, ((0, 0), padding[::2], padding[1::2], (0, 0))).astype("float64")
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[:2], dilation, strict=True)]
    rows, columns = ((wide.shape[i + 1] - reach[i]) // stride[i] + 1 for i in (0, 1))
    total = np.zeros((2, x.shape[0], rows, columns, w.shape[-1]))
    for kh, kw in np.ndindex(*w.shape[:2]):
        part = wide[:, kh * dilation[0] :: stride[0], kw * dilation[1] :: stride[1]][:, :rows, :columns]
        total[0] += part @ w[kh, kw]
        total[1] += np.abs(part) @ np.abs(w[kh, kw])
    return np.maximum(total[0] + 1, 0), total[1] + 1


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_the_bits_of_a_convolution_by_rows(data):
    draw = data.draw
    batch, inner, outer = draw(st.integers(1, 2)), draw(st.sampled_from([4, 12, 20, 32])), draw(st.integers(1, 40))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride, dilation = (
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        draw(st.tuples(st.integers(1, 2), st.just(1))),
    )
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = (draw(st.integers(n, n + 12)) for n in least)
    tile = Tile(draw(st.integers(1, 7)), draw(st.sampled_from([4, 8, 16])), 4)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = rng.standard_normal((batch, height, width, inner)).astype("float32")
    w = rng.standard_normal((*kernel, inner, outer)).astype("float32")
    merged = result(conv2d_merged, x, w, tile, stride, padding, dilation)
    np.testing.assert_array_equal(merged, result(conv2d_packed, x, w, tile, stride, padding, dilation))
    total, magnitude = exact(x, w, stride, padding, dilation)
    assert (np.abs(merged - total) <= (np.prod(w.shape[:3]) + 2) * UNIT * 1.01 * magnitude).all()


@pytest.mark.parametrize(("stride", "copied"), [(1, 3), (2, 9)])
def test_data_are_copied_once_for_a_task(stride, copied):
    x, w = np.zeros((1, 13, 13, 64), "float32"), np.zeros((3, 3, 64, 64), "float32")
    tile = Tile(7, 32, 16, merged=True)
    sch, *_ = convolution(conv2d_merged, x, w, tile, (stride,) * 2, (1,) * 4, (1, 1))
    (panels,) = (buffer for buffer in sch.get(sch.get_sblock("root")).alloc_buffers if buffer.name == "panels")
    assert int(panels.shape[1]) * int(panels.shape[2]) == copied
    assert len(sch.get_loops(sch.get_sblock("panels"))) > 1 and sch.mod.script().count("T.parallel") == 1


@given(st.integers(1, 5000))
def test_a_few_more_tiles_have_more_divisors(tiles):
    assert tiles <= even(tiles) <= tiles * (1 + SPARE)
    assert len(divisors(even(tiles))) >= len(divisors(tiles))
    assert divisors(tiles) == [n for n in range(1, tiles + 1) if tiles % n == 0]
