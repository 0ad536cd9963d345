"""1-D convolution of channels-last data with packed weights.

    data     [N][W][I]
    weight   [tiles][K][I / groups][T], T output channels to a tile; the last tile is filled up with zeros
    result   [N][OW][O]

Built as conv2d.py is, with one spatial axis: `sums` [N][tiles][pixels][T], then `unpack`. So is the convolution of one
column of pixels, [N][H][1][I] -> [N][OH][1][O]: its `sums` are [N][tiles][1][pixels][T], and its schedule takes the
column for a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import UNPACK, pack_conv2d, round_up, sums_attrs
from tvm_split.passes.kernels.window import KERNEL, Axis, int64, padded

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile


def pack_conv1d(weight: np.ndarray, channels: int) -> np.ndarray:
    """WIO weights -> [tiles][K][I][channels]."""
    return np.ascontiguousarray(pack_conv2d(weight[np.newaxis], channels)[:, 0])


def conv1d_packed(
    data: te.Tensor, weight: te.Tensor, out_channels: int, tile: Tile, stride: int, padding: tuple[int, int],
    dilation: int, groups: int = 1,
) -> te.Tensor:  # fmt: skip
    """`padding` is left, right. With groups, each group's channels are whole tiles."""
    batch, width, *column, _ = (int(extent) for extent in data.shape)
    tiles, kernel, inner, channels = (int(extent) for extent in weight.shape)
    along = Axis(width, kernel, stride, *padding, dilation)
    row = round_up(along.out, tile.pixels)
    data = padded(data, [along.spanned(row)], [along.before])
    in_group = tirx.IntImm("int64", tiles // groups)
    kw, ic = (
        te.reduce_axis((0, extent), name) for extent, name in zip(int64(kernel, inner), ("kw", "ic"), strict=True)
    )
    sums = te.compute(
        int64(batch, tiles, *column, row, channels),
        lambda n, oo, *index: te.sum(
            data(
                n,
                along.at(index[-2], kw),
                *index[:-2],
                ic if groups == 1 else te.indexdiv(oo, in_group) * inner + ic,
            )
            * weight[oo, kw, ic, index[-1]],
            axis=[kw, ic],
        ),
        name="sums", attrs=sums_attrs(tile),
    )  # fmt: skip
    return te.compute(
        int64(batch, along.out, *column, out_channels),
        lambda n, w, *index: sums(
            n, te.indexdiv(index[-1], channels), *index[:-1], w, te.indexmod(index[-1], channels)
        ),
        name="unpack", attrs={KERNEL: UNPACK},
    )  # fmt: skip
