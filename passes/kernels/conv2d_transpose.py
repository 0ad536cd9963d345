"""Transposed convolution of channels-last data with packed weights, in one or two spatial axes.

    data     [N] [H]... [I]
    weight   [S]... [tiles] [taps]... [I / groups] [T]: a filter for each phase of the result
    result   [N] [OH]... [O]

With stride S, the elements S * m + q of the result are, for each phase q, a dense convolution of the data with every
S-th element of the kernel: no product with a zero between the data is computed. Phases have K / S taps, rounded up or
down; where it is down, the last tap is filled up with zeros, and the schedule (schedule/conv2d_transpose.py) leaves it
out. `sums` is [N] [S]... [tiles] [m]... [T], `join` [N] [m, S]... [O], and `unpack` drops what lies beyond the end.
The order of a sum is by tap, from the first element of the kernel on, then by channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import LANES, PIXELS, round_up
from tvm_split.passes.kernels.window import KERNEL, int64, padded

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile

#: values of KERNEL
SUMS, JOIN, UNPACK, PAD = "phase sums", "phase join", "phase unpack", "phase pad"
#: annotations of `sums`: kernel, stride and padding before the data, of each spatial axis
KERNELS, STRIDES, BEFORE = "tvm_split.kernels", "tvm_split.strides", "tvm_split.before"


def pack_transposed(weight: np.ndarray, strides: Sequence[int], before: Sequence[int], channels: int) -> np.ndarray:
    """Weights [K]... [I] [O] -> [S]... [tiles] [taps]... [I] [channels]."""
    *kernel, inner, outer = weight.shape
    taps = [-(-k // s) for k, s in zip(kernel, strides, strict=True)]
    filled = np.zeros((*strides, *taps, inner, round_up(outer, channels)), weight.dtype)
    for phase in product(*map(range, strides)):
        chosen = weight[tuple(slice((q + p) % s, None, s) for q, p, s in zip(phase, before, strides, strict=True))]
        filled[phase][(*map(slice, chosen.shape[: len(taps)]), ..., slice(outer))] = chosen
    rank = len(taps)
    tiled = filled.reshape(*strides, *taps, inner, -1, channels)
    return np.ascontiguousarray(np.moveaxis(tiled, 2 * rank + 1, rank))


def transposed_packed(
    data: te.Tensor, weight: te.Tensor, extents: Sequence[int], out_channels: int, tile: Tile, kernel: Sequence[int],
    strides: Sequence[int], before: Sequence[int], groups: int = 1,
) -> te.Tensor:  # fmt: skip
    """`extents` are the result's, `before` the padding before the data. With groups, each has whole tiles."""
    batch, *space, _ = (int(extent) for extent in data.shape)
    rank = len(space)
    tiles, *taps, inner, channels = (int(extent) for extent in weight.shape[rank:])
    made = [-(-extent // s) for extent, s in zip(extents, strides, strict=True)]
    made[-1] = round_up(made[-1], tile.pixels)
    # element m of phase q reads the data from m + (q + before) / S down
    first = [t - 1 - p // s for t, p, s in zip(taps, before, strides, strict=True)]
    last = [m + (s - 1 + p) // s for m, s, p in zip(made, strides, before, strict=True)]
    lead = [max(each, 0) for each in first]
    data = padded(data, [max(b, n) + a for a, b, n in zip(lead, last, space, strict=True)], lead, role=PAD)
    in_group = tirx.IntImm("int64", tiles // groups)

    reduced = [
        te.reduce_axis((0, extent), name) for extent, name in zip(int64(*taps), ("th", "tw")[-rank:], strict=True)
    ]
    ic = te.reduce_axis((0, *int64(inner)), "ic")

    def term(*index: tirx.Var) -> tirx.Expr:
        n, phase, oo, pixel, oi = index[0], index[1 : 1 + rank], index[1 + rank], index[2 + rank : -1], index[-1]
        place = [
            m + te.indexdiv(q + p, s) - t + a
            for m, q, p, s, t, a in zip(pixel, phase, before, strides, reduced, lead, strict=True)
        ]
        channel = ic if groups == 1 else te.indexdiv(oo, in_group) * inner + ic
        return te.sum(data(n, *place, channel) * weight(*phase, oo, *reduced, ic, oi), axis=[*reduced, ic])

    sums = te.compute(
        int64(batch, *strides, tiles, *made, channels), term, name="sums",
        attrs={
            KERNEL: SUMS, LANES: tirx.IntImm("int32", tile.lanes), PIXELS: tirx.IntImm("int32", tile.pixels),
            KERNELS: list(int64(*kernel)), STRIDES: list(int64(*strides)), BEFORE: list(int64(*before)),
        },
    )  # fmt: skip

    def phase_of(n: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, o = index
        return sums(n, *place[1::2], te.indexdiv(o, channels), *place[::2], te.indexmod(o, channels))

    return _joined(phase_of, batch, made, strides, extents, out_channels)


def pack_points(weight: np.ndarray, channels: int) -> np.ndarray:
    """Weights [K]... [I] [O] of a kernel as large as its stride -> [1] [I] [K * ... * O], which are `channels`."""
    *_, inner, _ = weight.shape
    return np.ascontiguousarray(np.moveaxis(weight, -2, 0).reshape(1, inner, channels))


def transposed_points(
    data: te.Tensor, weight: te.Tensor, strides: Sequence[int], out_channels: int, tile: Tile
) -> te.Tensor:
    """With a kernel as large as its stride, and few channels: one product makes all phases, [1] [I] [T] the weights."""
    batch, *space, inner = (int(extent) for extent in data.shape)
    made = [*space[:-1], round_up(space[-1], tile.pixels)]
    data = padded(data, made, [0] * len(space), role=PAD)
    ic = te.reduce_axis((0, *int64(inner)), "ic")
    sums = te.compute(
        int64(batch, *made, tile.channels),
        lambda *i: te.sum(data(*i[:-1], ic) * weight[0, ic, i[-1]], axis=[ic]), name="sums",
        attrs={
            KERNEL: SUMS, LANES: tirx.IntImm("int32", tile.lanes), PIXELS: tirx.IntImm("int32", tile.pixels),
            STRIDES: list(int64(*strides)),
        },
    )  # fmt: skip

    def element(n: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, o = index
        channel: tirx.Expr = tirx.IntImm("int64", 0)
        for phase, s in zip(place[1::2], strides, strict=True):
            channel = channel * s + phase
        return sums(n, *place[::2], channel * out_channels + o)

    return _joined(element, batch, made, strides, [n * s for n, s in zip(space, strides, strict=True)], out_channels)


def _joined(
    element: Callable[..., tirx.Expr], batch: int, made: Sequence[int], strides: Sequence[int], extents: Sequence[int],
    out_channels: int,
) -> te.Tensor:  # fmt: skip
    """`join`, of the elements of phases, and the result."""
    phases = [extent for pair in zip(made, strides, strict=True) for extent in pair]
    joined = te.compute(int64(batch, *phases, out_channels), element, name="join", attrs={KERNEL: JOIN})

    def kept(n: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, o = index
        pairs = [f(i, s) for i, s in zip(place, strides, strict=True) for f in (te.indexdiv, te.indexmod)]
        return joined(n, *pairs, o)

    return te.compute(int64(batch, *extents, out_channels), kept, name="unpack", attrs={KERNEL: UNPACK})
