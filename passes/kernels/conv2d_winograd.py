"""2-D convolution of channels-last data with a 3x3 kernel, stride 1, by Winograd's F(2x2, 3x3).

    data     [N][H][W][I] float32
    weight   [tiles][4][4][I][T], the kernel transformed; the last tile is filled up with zeros
    result   [N][OH][OW][O] float32

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015, section 4.1: a block of 2x2 of the result takes
16 products for each pair of channels instead of 36. A band is `rows` rows of blocks:

    lines      [N][bands][rows][4][W + padding][I]      rows of the data, added and subtracted
    patches    [N][bands][4][4][positions][I]           and columns; positions are rounded up to whole register tiles
    sums       [N][bands][tiles][4][4][positions][T]    over I, one after the other
    folded     [N][bands][tiles][2][4][positions][T]    rows of the sums, added and subtracted
    unpack                                              and columns, which are the result

But for the sums there is no multiplication, so bits depend on no processor that has fused multiply-add. An element's
error is at most c * 2^-24 * max|patch| * sum|w| with a small c (docs/kernels.md). schedule/winograd.py schedules it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import LANES, PIXELS, round_up
from tvm_split.passes.kernels.window import KERNEL, axes_of, int64, within

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile

#: values of KERNEL
LINES, PATCHES, SUMS, FOLDED, UNPACK = (f"winograd {role}" for role in ("lines", "patches", "sums", "folded", "unpack"))
#: annotation of `sums`: rows of blocks of a band
ROWS = "tvm_split.rows"
#: rows and columns of the result to a block, and of the data that it is made from
BLOCK, PATCH = 2, 4
#: what makes a column of a patch of one of the kernel
KERNEL_TO_PATCH = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def pack_winograd(weight: np.ndarray, channels: int) -> np.ndarray:
    """HWIO weights of 3x3 -> [tiles][4][4][I][channels], rounded once."""
    _, _, inner, outer = weight.shape
    filled = np.zeros((PATCH, PATCH, inner, round_up(outer, channels)), weight.dtype)
    exact = np.einsum("ah,bw,hwio->abio", KERNEL_TO_PATCH, KERNEL_TO_PATCH, weight.astype("float64"), optimize=True)
    filled[..., :outer] = exact
    return np.ascontiguousarray(filled.reshape(PATCH, PATCH, inner, -1, channels).transpose(3, 0, 1, 2, 4))


def conv2d_winograd(
    data: te.Tensor, weight: te.Tensor, out_channels: int, tile: Tile, rows: int, padding: Sequence[int]
) -> te.Tensor:
    """`padding` is top, left, bottom, right; `rows` of blocks are a band."""
    batch, *space, inner = (int(extent) for extent in data.shape)
    tiles, *_, channels = (int(extent) for extent in weight.shape)
    down, along = axes_of(space, (3, 3), (1, 1), padding, (1, 1))
    columns = -(-along.out // BLOCK)
    bands = -(-down.out // (BLOCK * rows))
    positions = round_up(rows * columns, tile.pixels)
    height, width = down.extent + down.before + down.after, along.extent + along.before + along.after

    def padded(n: tirx.Var, h: tirx.Expr, w: tirx.Expr, c: tirx.Var) -> tirx.Expr:
        ends = within(h, down.before, down.extent, height + BLOCK * rows)
        inside = [*ends, *within(w, along.before, along.extent, width + 1)]
        element = data[n, h - down.before, w - along.before, c]
        return tirx.if_then_else(tirx.all(*inside), element, tirx.const(0, data.dtype))

    lines = te.compute(
        int64(batch, bands, -(-positions // columns), PATCH, BLOCK * columns + BLOCK, inner),
        lambda n, b, y, i, w, c: patch(i, lambda k: padded(n, (b * rows + y) * BLOCK + k, w, c)),
        name="lines", attrs={KERNEL: LINES},
    )  # fmt: skip

    def patches_at(n: tirx.Var, b: tirx.Var, i: tirx.Var, j: tirx.Var, q: tirx.Var, c: tirx.Var) -> tirx.Expr:
        y, x = te.indexdiv(q, columns), te.indexmod(q, columns) * BLOCK
        return patch(j, lambda k: lines[n, b, y, i, x + k, c])

    patches = te.compute(
        int64(batch, bands, PATCH, PATCH, positions, inner), patches_at, name="patches", attrs={KERNEL: PATCHES}
    )
    ic = te.reduce_axis((0, *int64(inner)), "ic")
    sums = te.compute(
        int64(batch, bands, tiles, PATCH, PATCH, positions, channels),
        lambda n, b, oo, i, j, q, oi: te.sum(patches[n, b, i, j, q, ic] * weight[oo, i, j, ic, oi], axis=[ic]),
        name="sums",
        attrs={
            KERNEL: SUMS, ROWS: tirx.IntImm("int32", rows),
            LANES: tirx.IntImm("int32", tile.lanes), PIXELS: tirx.IntImm("int32", tile.pixels),
        },
    )  # fmt: skip
    folded = te.compute(
        int64(batch, bands, tiles, BLOCK, PATCH, positions, channels),
        lambda n, b, oo, i, j, q, oi: block(i, lambda k: sums[n, b, oo, k, j, q, oi]),
        name="folded", attrs={KERNEL: FOLDED},
    )  # fmt: skip

    def result(n: tirx.Var, h: tirx.Var, w: tirx.Var, o: tirx.Var) -> tirx.Expr:
        y, x = te.indexdiv(h, BLOCK), te.indexdiv(w, BLOCK)
        band, q = te.indexdiv(y, rows), te.indexmod(y, rows) * columns + x
        oo, oi = te.indexdiv(o, channels), te.indexmod(o, channels)
        return block(te.indexmod(w, BLOCK), lambda k: folded[n, band, oo, te.indexmod(h, BLOCK), k, q, oi])

    return te.compute(int64(batch, down.out, along.out, out_channels), result, name="unpack", attrs={KERNEL: UNPACK})


def patch(index: tirx.Expr, at: Callable[[int], tirx.Expr]) -> tirx.Expr:
    """Element `index` of the transform of four elements of the data."""
    return chosen(index, [at(0) - at(2), at(1) + at(2), at(2) - at(1), at(1) - at(3)])


def block(index: tirx.Expr, at: Callable[[int], tirx.Expr]) -> tirx.Expr:
    """Element `index` of the two that four sums make."""
    return chosen(index, [at(0) + at(1) + at(2), at(1) - at(2) - at(3)])


def chosen(index: tirx.Expr, choices: list[tirx.Expr]) -> tirx.Expr:
    """One of the choices; the schedule writes out the loop over them, so that nothing is chosen at run time."""
    result = choices[-1]
    for k in reversed(range(len(choices) - 1)):
        result = tirx.if_then_else(index == k, choices[k], result)
    return result
