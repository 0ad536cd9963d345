"""2-D convolution of channels-last uint8 data by dot product instructions (schedule/dot.py); exact.

    data     [N][H][W][I] uint8
    weight   [tiles][KH][KW][I / G][T][G], G terms to a call, T output channels to a tile; both filled up with zeros
    result   [N][OH][OW][O] int32

Where I is no multiple of G, a window's row of KW * I values is one run of terms, [tiles][KH][1][KW * I / G][T][G], if
its values lie together; else the channels of the data are filled up, too. `pad` does that, with the convolution's own
padding and with the conversion that some instructions need. Otherwise built as conv2d.py is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import UNPACK, round_up, sums_attrs, term
from tvm_split.passes.kernels.window import KERNEL, PAD, Axis, int64, within

if TYPE_CHECKING:  # its package imports the rules, and they import this
    from tvm_split.passes.schedule.dot import Dot
    from tvm_split.passes.schedule.tiles import Tile

#: annotation of the block that sums products: the kind of dot product
DOT = "tvm_split.dot"
#: annotation of a block that pads: its rows do not end with the data's
RAGGED = "tvm_split.ragged"


def joins(dot: Dot, kernel_w: int, inner: int, step_w: int, groups: int) -> bool:
    """Whether a window's row is one run of terms. `inner`: input channels of a group."""
    return kernel_w > 1 and step_w == 1 and groups == 1 and inner % dot.terms != 0


def pack_conv2d_dot(weight: np.ndarray, channels: int, dot: Dot, join: bool) -> np.ndarray:
    """HWIO weights -> [tiles][KH][KW or 1][...][channels][terms]."""
    height, width, inner, outer = weight.shape
    if join:
        weight, width, inner = weight.reshape(height, 1, width * inner, outer), 1, width * inner
    filled = np.zeros((height, width, round_up(inner, dot.terms), round_up(outer, channels)), dot.weight)
    filled[:, :, :inner, :outer] = weight
    blocks = filled.reshape(height, width, -1, dot.terms, filled.shape[-1] // channels, channels)
    return np.ascontiguousarray(blocks.transpose(4, 0, 1, 2, 5, 3))


def conv2d_dot(
    data: te.Tensor, weight: te.Tensor, missing: te.Tensor | None, out_channels: int, tile: Tile, dot: Dot,
    window: Sequence[Axis], groups: int = 1, pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`window` is height and width, padded with `pad_value`; `missing` is what to add to each channel's sum.

    With groups, each group's channels are whole tiles.
    """
    (down, along), in_channels = window, int(data.shape[-1])
    tiles, kernel_h, columns, steps, channels, _ = (int(extent) for extent in weight.shape)
    row, rows = round_up(along.out, tile.pixels), down.spanned(down.out)
    in_group = tirx.IntImm("int64", tiles // groups)
    if columns < along.kernel:
        step = along.stride * in_channels
        joined = _joined(data, window, rows, (row - 1) * step + steps * dot.terms, pad_value, dot)

        def read(n: tirx.Expr, oo: tirx.Expr, h: tirx.Expr, w: tirx.Expr, kw: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
            return joined[n, h, w * step + k]
    else:
        wide = _filled(data, window, (rows, along.spanned(row)), groups, steps * dot.terms, pad_value, dot)

        def read(n: tirx.Expr, oo: tirx.Expr, h: tirx.Expr, w: tirx.Expr, kw: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
            channel = k if groups == 1 else te.indexdiv(oo, in_group) * (steps * dot.terms) + k
            return wide[n, h, along.at(w, kw), channel]

    terms = zip(("kh", "kw", "ko", "ki"), int64(kernel_h, columns, steps, dot.terms), strict=True)
    kh, kw, ko, ki = (te.reduce_axis((0, extent), name) for name, extent in terms)
    sums = te.compute(
        int64(int(data.shape[0]), tiles, down.out, row, channels),
        lambda n, oo, h, w, oi: te.sum(
            term(read(n, oo, down.at(h, kh), w, kw, ko * dot.terms + ki), weight[oo, kh, kw, ko, oi, ki]),
            axis=[kh, kw, ko, ki],
        ),
        name="sums", attrs=sums_attrs(tile) | {DOT: dot.name},
    )  # fmt: skip

    def element(n: tirx.Expr, h: tirx.Expr, w: tirx.Expr, o: tirx.Expr) -> tirx.Expr:
        total = sums[n, te.indexdiv(o, channels), h, w, te.indexmod(o, channels)]
        return total if missing is None else total + missing[o]

    extents = int64(int(data.shape[0]), down.out, along.out, out_channels)
    return te.compute(extents, element, name="unpack", attrs={KERNEL: UNPACK})


def converted(dot: Dot, value: tirx.Expr) -> tirx.Expr:
    """A byte of the data as the instruction reads it."""
    if dot.data == "int8":
        return tirx.reinterpret("int8", value ^ tirx.const(128, "uint8"))
    return value if dot.data == "uint8" else value.astype(dot.data)


def guarded(inside: list[tirx.Expr], value: tirx.Expr, other: int, dot: Dot) -> tirx.Expr:
    """The converted value where all conditions hold, else the other one, converted, too."""
    value = converted(dot, value)
    return tirx.if_then_else(tirx.all(*inside), value, tirx.const(other - dot.shift, dot.data)) if inside else value


def pad_attrs(ragged: bool) -> dict[str, object]:
    return {KERNEL: PAD} | ({RAGGED: tirx.IntImm("int32", 1)} if ragged else {})


def _filled(
    data: te.Tensor, window: Sequence[Axis], extents: tuple[int, int], groups: int, filled: int, pad_value: int,
    dot: Dot,
) -> te.Tensor:  # fmt: skip
    """[N][H][W][groups * filled]: padded, converted, groups filled up; the data when that changes nothing."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    top, left, inner = window[0].before, window[1].before, channels // groups
    fits = not (top or left) and extents[0] <= height and extents[1] <= width
    if fits and filled == inner and dot.data == "uint8":
        return data

    def element(n: tirx.Expr, h: tirx.Expr, w: tirx.Expr, c: tirx.Expr) -> tirx.Expr:
        inside = within(h, top, height, extents[0]) + within(w, left, width, extents[1])
        if filled > inner and groups == 1:
            inside += [c < inner]
        elif filled > inner:
            inside += [te.indexmod(c, filled) < inner]
            c = te.indexdiv(c, filled) * inner + te.indexmod(c, filled)
        return guarded(inside, data[n, h - top, w - left, c], pad_value, dot)

    attrs = pad_attrs(filled > inner)
    return te.compute(int64(batch, *extents, groups * filled), element, name="pad", attrs=attrs)


def _joined(
    data: te.Tensor, window: Sequence[Axis], rows: int, length: int, pad_value: int, dot: Dot
) -> te.Tensor:  # fmt: skip
    """[N][H][length]: padded and converted rows, each pixel's channels behind the other's."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    top, left = window[0].before, window[1].before * channels

    def element(n: tirx.Expr, h: tirx.Expr, x: tirx.Expr) -> tirx.Expr:
        inside = within(h, top, height, rows) + within(x, left, width * channels, length)
        pixel, channel = te.indexdiv(x - left, channels), te.indexmod(x - left, channels)
        return guarded(inside, data[n, h - top, pixel, channel], pad_value, dot)

    return te.compute(int64(batch, rows, length), element, name="pad", attrs=pad_attrs(True))
