"""2-D convolution of channels-last data with packed weights.

    data     [N][H][W][I] float32, or uint8
    weight   [tiles][KH][KW][I / groups][T] float32, or int8; T output channels to a tile; the last one is filled up
             with zeros
    result   [N][OH][OW][O] float32, or int32

The sum is made tile by tile in `sums` [N][tiles][OH][pixels][T], whose rows are rounded up to whole register tiles;
`unpack` drops what lies beyond the result. The schedule (schedule/packed.py) fuses the two, so neither the tiles nor
the rounded rows are ever in memory. It finds the blocks by these annotations.
For integers this is the form for processors without a dot product instruction; the others have conv2d_dot.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.window import KERNEL, axes_of, int64, padded

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile

#: annotations of the block that sums products: its register tile
LANES, PIXELS = "tvm_split.lanes", "tvm_split.pixels"
#: values of KERNEL
SUMS, UNPACK = "sums", "unpack"


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def pack_conv2d(weight: np.ndarray, channels: int) -> np.ndarray:
    """HWIO weights -> [tiles][KH][KW][I][channels]."""
    height, width, inner, outer = weight.shape
    filled = np.zeros((height, width, inner, round_up(outer, channels)), weight.dtype)
    filled[..., :outer] = weight
    return np.ascontiguousarray(filled.reshape(height, width, inner, -1, channels).transpose(3, 0, 1, 2, 4))


def sums_attrs(tile: Tile) -> dict[str, object]:
    return {KERNEL: SUMS, LANES: tirx.IntImm("int32", tile.lanes), PIXELS: tirx.IntImm("int32", tile.pixels)}


def conv2d_packed(
    data: te.Tensor, weight: te.Tensor, out_channels: int, tile: Tile, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int = 1, pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right, of `pad_value`. With groups, each group's channels are whole tiles."""
    batch, *space, _ = (int(extent) for extent in data.shape)
    tiles, kernel_h, kernel_w, inner, channels = (int(extent) for extent in weight.shape)
    down, along = axes_of(space, (kernel_h, kernel_w), strides, padding, dilation)
    row = round_up(along.out, tile.pixels)
    data = padded(data, (down.spanned(down.out), along.spanned(row)), (down.before, along.before), pad_value)
    multiply, in_group = times(data), tirx.IntImm("int64", tiles // groups)

    window = zip(("kh", "kw", "ic"), int64(kernel_h, kernel_w, inner), strict=True)
    kh, kw, ic = (te.reduce_axis((0, extent), name) for name, extent in window)
    sums = te.compute(
        int64(batch, tiles, down.out, row, channels),
        lambda n, oo, h, w, oi: te.sum(
            multiply(
                data[
                    n, down.at(h, kh), along.at(w, kw),
                    ic if groups == 1 else te.indexdiv(oo, in_group) * inner + ic,
                ],
                weight[oo, kh, kw, ic, oi],
            ),
            axis=[kh, kw, ic],
        ),
        name="sums", attrs=sums_attrs(tile),
    )  # fmt: skip
    return te.compute(
        int64(batch, down.out, along.out, out_channels),
        lambda n, h, w, o: sums[n, te.indexdiv(o, channels), h, w, te.indexmod(o, channels)],
        name="unpack", attrs={KERNEL: UNPACK},
    )  # fmt: skip


def term(value: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """One product of integers, in int32, as dot product instructions are described; see schedule/dot.py."""
    return value.astype("int32") * weight.astype("int32")


def times(data: te.Tensor) -> Callable[[tirx.Expr, tirx.Expr], tirx.Expr]:
    """What makes a product of the data and weights."""
    return operator.mul if str(data.dtype).startswith("float") else term
