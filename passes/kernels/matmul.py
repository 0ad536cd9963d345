"""Matrix product with a packed constant; a 1x1 convolution is one too.

    data     [...][K] float32, or uint8; the rows of all leading dimensions in one
    weight   [tiles][K][T] float32, or int8; T columns to a tile; the last tile is filled up with zeros
    result   [...][N] float32, or int32

Built as conv2d.py is: `sums` [tiles][rows][T], then `unpack`. Dot product instructions have matmul_dot.py.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import UNPACK, round_up, sums_attrs, times
from tvm_split.passes.kernels.window import KERNEL, PAD, int64

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile


def pack_matmul(weight: np.ndarray, channels: int) -> np.ndarray:
    """[K][N] -> [tiles][K][channels]."""
    terms, columns = weight.shape
    filled = np.zeros((terms, round_up(columns, channels)), weight.dtype)
    filled[:, :columns] = weight
    return np.ascontiguousarray(filled.reshape(terms, -1, channels).transpose(1, 0, 2))


def matmul_packed(data: te.Tensor, weight: te.Tensor, out_channels: int, tile: Tile) -> te.Tensor:
    leading = [int(extent) for extent in data.shape[:-1]]
    tiles, terms, channels = (int(extent) for extent in weight.shape)
    rows = prod(leading)
    filled = round_up(rows, tile.pixels)

    row, zero = rows_of(data), tirx.const(0, data.dtype)
    if filled == rows and isinstance(data, te.Tensor):
        read = row
    else:
        guarded = te.compute(
            int64(filled, terms),
            lambda m, k: row(m, k) if filled == rows else tirx.if_then_else(m < rows, row(m, k), zero),
            name="pad", attrs={KERNEL: PAD},
        )  # fmt: skip

        def read(m: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
            return guarded[m, k]

    multiply, k = times(data), te.reduce_axis((0, tirx.IntImm("int64", terms)), "k")
    sums = te.compute(
        int64(tiles, filled, channels), lambda oo, m, oi: te.sum(multiply(read(m, k), weight[oo, k, oi]), axis=[k]),
        name="sums", attrs=sums_attrs(tile),
    )  # fmt: skip

    return unpacked(sums, leading, out_channels)


def rows_of(data: te.Tensor) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
    """Reads element k of row m, the rows of all leading dimensions in one."""
    leading = [int(extent) for extent in data.shape[:-1]]

    def row(m: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        index: list[tirx.Expr] = []
        for extent in reversed(leading):
            index.insert(0, te.indexmod(m, extent) if len(index) + 1 < len(leading) else m)
            m = te.indexdiv(m, extent)
        return data(*index, k)

    return row


def unpacked(sums: te.Tensor, leading: list[int], out_channels: int, missing: te.Tensor | None = None) -> te.Tensor:
    """The result [...][N] of sums [tiles][rows][T], with `missing` [N] added to each row if given."""
    channels = int(sums.shape[-1])

    def element(*index: tirx.Var) -> tirx.Expr:
        m = index[0] if leading else tirx.IntImm("int64", 0)
        for extent, i in zip(leading[1:], index[1:-1], strict=True):
            m = m * extent + i
        total = sums[te.indexdiv(index[-1], channels), m, te.indexmod(index[-1], channels)]
        return total if missing is None else total + missing[index[-1]]

    return te.compute(int64(*leading, out_channels), element, name="unpack", attrs={KERNEL: UNPACK})
