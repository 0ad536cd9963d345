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

from tvm_split.passes.kernels.conv2d import KERNEL, PAD, UNPACK, int64, round_up, sums_attrs, term

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
    kernel_w: int, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int = 1,
    pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right, of `pad_value`; `missing` is what to add to each channel's sum.

    With groups, each group's channels are whole tiles.
    """
    batch, height, width, in_channels = (int(extent) for extent in data.shape)
    tiles, kernel_h, columns, steps, channels, _ = (int(extent) for extent in weight.shape)
    (stride_h, stride_w), (step_h, step_w) = strides, dilation
    reach_h, reach_w = (kernel_h - 1) * step_h + 1, (kernel_w - 1) * step_w + 1
    out_h = (height + padding[0] + padding[2] - reach_h) // stride_h + 1
    out_w = (width + padding[1] + padding[3] - reach_w) // stride_w + 1
    row = round_up(out_w, tile.pixels)
    rows = (out_h - 1) * stride_h + reach_h
    in_group = tirx.IntImm("int64", tiles // groups)
    if columns < kernel_w:
        step = stride_w * in_channels
        joined = _joined(data, rows, (row - 1) * step + steps * dot.terms, padding, pad_value, dot)

        def read(n: tirx.Expr, oo: tirx.Expr, h: tirx.Expr, w: tirx.Expr, kw: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
            return joined[n, h, w * step + k]
    else:
        extents = (rows, (row - 1) * stride_w + reach_w)
        wide = _filled(data, extents, groups, steps * dot.terms, padding, pad_value, dot)

        def read(n: tirx.Expr, oo: tirx.Expr, h: tirx.Expr, w: tirx.Expr, kw: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
            channel = k if groups == 1 else te.indexdiv(oo, in_group) * (steps * dot.terms) + k
            return wide[n, h, w * stride_w + kw * step_w, channel]

    window = zip(("kh", "kw", "ko", "ki"), int64(kernel_h, columns, steps, dot.terms), strict=True)
    kh, kw, ko, ki = (te.reduce_axis((0, extent), name) for name, extent in window)
    sums = te.compute(
        int64(batch, tiles, out_h, row, channels),
        lambda n, oo, h, w, oi: te.sum(
            term(
                read(n, oo, h * stride_h + kh * step_h, w, kw, ko * dot.terms + ki), weight[oo, kh, kw, ko, oi, ki],
                dot.offset,
            ),
            axis=[kh, kw, ko, ki],
        ),
        name="sums", attrs=sums_attrs(tile) | {DOT: dot.name},
    )  # fmt: skip

    def element(n: tirx.Expr, h: tirx.Expr, w: tirx.Expr, o: tirx.Expr) -> tirx.Expr:
        total = sums[n, te.indexdiv(o, channels), h, w, te.indexmod(o, channels)]
        return total if missing is None else total + missing[o]

    return te.compute(int64(batch, out_h, out_w, out_channels), element, name="unpack", attrs={KERNEL: UNPACK})


def converted(dot: Dot, value: tirx.Expr) -> tirx.Expr:
    """A byte of the data as the instruction reads it."""
    if dot.data == "int8":
        return tirx.reinterpret("int8", value ^ tirx.const(128, "uint8"))
    return value if dot.data == "uint8" else value.astype(dot.data)


def guarded(inside: list[tirx.Expr], value: tirx.Expr, other: int, dot: Dot) -> tirx.Expr:
    """The converted value where all conditions hold, else the other one, converted, too."""
    value = converted(dot, value)
    shift = 128 if dot.data == "int8" else 0
    return tirx.if_then_else(tirx.all(*inside), value, tirx.const(other - shift, dot.data)) if inside else value


def within(index: tirx.Expr, before: int, extent: int, length: int) -> list[tirx.Expr]:
    """Conditions for an index below `length` to be on the data, which has `before` in front of it."""
    return ([index >= before] if before else []) + ([index < before + extent] if length > before + extent else [])


def pad_attrs(ragged: bool) -> dict[str, object]:
    return {KERNEL: PAD} | ({RAGGED: tirx.IntImm("int32", 1)} if ragged else {})


def _filled(
    data: te.Tensor, extents: tuple[int, int], groups: int, filled: int, padding: Sequence[int], pad_value: int,
    dot: Dot,
) -> te.Tensor:  # fmt: skip
    """[N][H][W][groups * filled]: padded, converted, groups filled up; the data when that changes nothing."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    top, left, inner = padding[0], padding[1], channels // groups
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


def _joined(data: te.Tensor, rows: int, length: int, padding: Sequence[int], pad_value: int, dot: Dot) -> te.Tensor:
    """[N][H][length]: padded and converted rows, each pixel's channels behind the other's."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    top, left = padding[0], padding[1] * channels

    def element(n: tirx.Expr, h: tirx.Expr, x: tirx.Expr) -> tirx.Expr:
        inside = within(h, top, height, rows) + within(x, left, width * channels, length)
        pixel, channel = te.indexdiv(x - left, channels), te.indexmod(x - left, channels)
        return guarded(inside, data[n, h - top, pixel, channel], pad_value, dot)

    return te.compute(int64(batch, rows, length), element, name="pad", attrs=pad_attrs(True))
