"""Matrix product of uint8 rows and a packed int8 constant by dot product instructions (schedule/dot.py); exact.

    data     [...][K] uint8
    weight   [tiles][K / G][T][G], G terms to a call, T columns to a tile; both filled up with zeros
    result   [...][N] int32

Built as matmul.py is. `pad` fills up rows and terms, and does the conversion that some instructions need.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import round_up, sums_attrs, term
from tvm_split.passes.kernels.conv2d_dot import DOT, guarded, pad_attrs
from tvm_split.passes.kernels.matmul import rows_of, unpacked
from tvm_split.passes.kernels.window import int64, within

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.dot import Dot
    from tvm_split.passes.schedule.tiles import Tile


def pack_matmul_dot(weight: np.ndarray, channels: int, dot: Dot) -> np.ndarray:
    """[K][N] -> [tiles][K / terms][channels][terms]."""
    terms, columns = weight.shape
    filled = np.zeros((round_up(terms, dot.terms), round_up(columns, channels)), dot.weight)
    filled[:terms, :columns] = weight
    blocks = filled.reshape(-1, dot.terms, filled.shape[1] // channels, channels)
    return np.ascontiguousarray(blocks.transpose(2, 0, 3, 1))


def matmul_dot(
    data: te.Tensor, weight: te.Tensor, missing: te.Tensor | None, out_channels: int, tile: Tile, dot: Dot
) -> te.Tensor:
    """`missing` [N] is what to add to each column's sums."""
    leading, terms = [int(extent) for extent in data.shape[:-1]], int(data.shape[-1])
    tiles, steps, channels, _ = (int(extent) for extent in weight.shape)
    rows, whole = prod(leading), steps * dot.terms
    filled = round_up(rows, tile.pixels)
    row = rows_of(data)

    def element(m: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        return guarded(within(m, 0, rows, filled) + within(k, 0, terms, whole), row(m, k), 0, dot)

    side_by_side = dot.pixels == 1 or len(leading) == 1  # in one dimension, as calls of several rows want them
    if (filled, whole, dot.data) == (rows, terms, "uint8") and side_by_side:
        read = row
    else:
        read = te.compute(int64(filled, whole), element, name="pad", attrs=pad_attrs(whole > terms))
    outer, inner = int64(steps, dot.terms)
    ko, ki = te.reduce_axis((0, outer), "ko"), te.reduce_axis((0, inner), "ki")
    sums = te.compute(
        int64(tiles, filled, channels),
        lambda oo, m, oi: te.sum(term(read(m, ko * dot.terms + ki), weight[oo, ko, oi, ki]), axis=[ko, ki]),
        name="sums", attrs=sums_attrs(tile) | {DOT: dot.name},
    )  # fmt: skip
    return unpacked(sums, leading, out_channels, missing)
