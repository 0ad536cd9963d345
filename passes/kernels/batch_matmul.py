"""Products of two matrices of activations, for each index of the dimensions before them, which broadcast.

    a        [...][M][K]
    b        [...][K][N]
    result   [...][M][N]

`pack` lays b out in tiles of T columns, [...][tiles][K][T], the last one filled up with zeros: what a packed weight is,
made when it is needed. `sums` is [...][tiles][rows][T], its rows rounded up to whole register tiles, and `unpack` the
result. The schedule is schedule/batch_matmul.py. Sums run in the order of k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import LANES, PIXELS, round_up
from tvm_split.passes.kernels.window import KERNEL, int64

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile

#: values of KERNEL
SUMS, UNPACK, PACK = "product sums", "product unpack", "product pack"


def batch_matmul(a: te.Tensor, b: te.Tensor, tile: Tile) -> te.Tensor:
    """Both have two dimensions at least."""
    (*a_batch, rows, terms), (*b_batch, _, columns) = ([int(extent) for extent in each.shape] for each in (a, b))
    batch = broadcast(a_batch, b_batch)
    count, tiles, filled = len(batch), -(-columns // tile.channels), round_up(rows, tile.pixels)
    zero = tirx.const(0, a.dtype)

    def at(extents: Sequence[int], index: Sequence[tirx.Expr]) -> list[tirx.Expr]:
        """The index into a tensor of those leading extents."""
        last = index[len(index) - len(extents) :]
        return [i if extent > 1 else tirx.IntImm("int64", 0) for extent, i in zip(extents, last, strict=True)]

    def column(*index: tirx.Var) -> tirx.Expr:
        *lead, oo, k, oi = index
        n = oo * tile.channels + oi
        return b(*lead, k, n) if columns % tile.channels == 0 else tirx.if_then_else(n < columns, b(*lead, k, n), zero)

    packed = te.compute(
        int64(*b_batch, tiles, terms, tile.channels), column, name="pack", attrs={KERNEL: PACK}
    )  # fmt: skip
    k = te.reduce_axis((0, *int64(terms)), "k")

    def term(*index: tirx.Var) -> tirx.Expr:
        *lead, oo, m, oi = index
        value = a(*at(a_batch, lead), m, k)
        value = value if filled == rows else tirx.if_then_else(m < rows, value, zero)
        return te.sum(value * packed(*at(b_batch, lead), oo, k, oi), axis=[k])

    sums = te.compute(
        int64(*batch, tiles, filled, tile.channels), term, name="sums",
        attrs={KERNEL: SUMS, LANES: tirx.IntImm("int32", tile.lanes), PIXELS: tirx.IntImm("int32", tile.pixels)},
    )  # fmt: skip

    def element(*index: tirx.Var) -> tirx.Expr:
        lead, m, n = index[:count], index[-2], index[-1]
        return sums(*lead, te.indexdiv(n, tile.channels), m, te.indexmod(n, tile.channels))

    return te.compute(int64(*batch, rows, columns), element, name="unpack", attrs={KERNEL: UNPACK})


def broadcast(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """The extents that both have, each 1 or that of the result, counted from the last."""
    rank = max(len(first), len(second))
    a, b = ([1] * (rank - len(each)) + list(each) for each in (first, second))
    return [max(pair) for pair in zip(a, b, strict=True)]
