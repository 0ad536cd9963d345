"""2-D convolution as conv2d.py's, for short rows: register tiles run on from one row of the result to the next.

    data     [N][H][W][I]
    weight   [tiles][KH][KW][I][T], as conv2d.py packs it; the schedule asks that 4 divides I
    result   [N][OH][OW][O]

`panels` [N][views][KW][positions][I] holds, for each column of the window, what it meets, position by position of the
result, so that neighbours in the result are neighbours here even where a row ends. With a stride of 1 a row of the
window is a shift by whole rows, and one view serves all of them; else each row has a view of its own. The sum is made
in `sums` [N][tiles][positions][T]; `unpack` drops what lies beyond the result. The schedule is schedule/packed.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvm import te, tirx

from tvm_split.passes.divisors import even
from tvm_split.passes.kernels.conv2d import UNPACK, sums_attrs
from tvm_split.passes.kernels.window import KERNEL, PAD, axes_of, int64

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.tiles import Tile


def conv2d_merged(
    data: te.Tensor, weight: te.Tensor, out_channels: int, tile: Tile, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int],
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right."""
    batch, *space, _ = (int(extent) for extent in data.shape)
    tiles, kernel_h, kernel_w, inner, channels = (int(extent) for extent in weight.shape)
    down, along = axes_of(space, (kernel_h, kernel_w), strides, padding, dilation)
    out_h, out_w = down.out, along.out
    positions = tile.pixels * even(-(-out_h * out_w // tile.pixels))
    views, below = (1, (down.reach - 1) * out_w) if down.stride == 1 else (kernel_h, 0)

    def met(n: tirx.Var, view: tirx.Var, kw: tirx.Var, position: tirx.Var, c: tirx.Var) -> tirx.Expr:
        h = down.at(te.indexdiv(position, out_w), view) - down.before
        w = along.at(te.indexmod(position, out_w), kw) - along.before
        inside = tirx.all(h >= 0, h < down.extent, w >= 0, w < along.extent)
        return tirx.if_then_else(inside, data[n, h, w, c], tirx.const(0, data.dtype))

    panels = te.compute(
        int64(batch, views, kernel_w, positions + below, inner), met, name="panels", attrs={KERNEL: PAD}
    )
    window = zip(("kh", "kw", "ic"), int64(kernel_h, kernel_w, inner), strict=True)
    kh, kw, ic = (te.reduce_axis((0, extent), name) for name, extent in window)
    view, shift = (0, kh * (down.dilation * out_w)) if views == 1 else (kh, 0)
    sums = te.compute(
        int64(batch, tiles, positions, channels),
        lambda n, oo, m, oi: te.sum(panels[n, view, kw, m + shift, ic] * weight[oo, kh, kw, ic, oi], axis=[kh, kw, ic]),
        name="sums", attrs=sums_attrs(tile),
    )  # fmt: skip
    return te.compute(
        int64(batch, out_h, out_w, out_channels),
        lambda n, h, w, o: sums[n, te.indexdiv(o, channels), h * out_w + w, te.indexmod(o, channels)],
        name="unpack", attrs={KERNEL: UNPACK},
    )  # fmt: skip
