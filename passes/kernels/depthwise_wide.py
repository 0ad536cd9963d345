"""Depthwise 2-D convolution of uint8 data with int8 weights, exact in int32, without a dot product.

    data     [N][H][W][C] uint8
    weight   [KH][KW][C] int16
    wide     [N][WH][WW][C] int16, the padded data
    result   [N][OH][OW][C] int32

NEON multiplies vectors of 16 bits and adds to sums of 32 in one instruction, but not bytes: each value is widened once,
not once for each row of a window, and the padding is in what is widened, so that no product has a condition. The
schedule (schedule/depthwise_wide.py) finds the blocks by their annotations.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te, tirx

from tvm_split.passes.kernels.window import KERNEL, axes_of, int64, within

#: values of KERNEL
WIDE, WIDE_SUMS = "depthwise_wide", "depthwise_wide_sums"


def depthwise_wide(
    data: te.Tensor, weight: te.Tensor, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right, of `pad_value`."""
    batch, *space, channels = (int(extent) for extent in data.shape)
    kernel = [int(extent) for extent in weight.shape[:2]]
    down, along = axes_of(space, kernel, strides, padding, dilation)
    extents = [axis.spanned(axis.out) for axis in (down, along)]

    def value(n: tirx.Var, row: tirx.Var, column: tirx.Var, c: tirx.Var) -> tirx.Expr:
        inside = within(row, down.before, down.extent, extents[0])
        inside += within(column, along.before, along.extent, extents[1])
        loaded = data[n, row - down.before, column - along.before, c].astype("int16")
        return tirx.if_then_else(tirx.all(*inside), loaded, tirx.const(pad_value, "int16")) if inside else loaded

    wide = te.compute(int64(batch, *extents, channels), value, name="wide", attrs={KERNEL: WIDE})
    kh, kw = (te.reduce_axis((0, *int64(size)), name) for size, name in zip(kernel, ("kh", "kw"), strict=True))
    return te.compute(
        int64(batch, down.out, along.out, channels),
        lambda n, h, w, c: te.sum(
            wide[n, down.at(h, kh), along.at(w, kw), c].astype("int32")
            * weight[kh, kw, c].astype("int32"),
            axis=[kh, kw],
        ),
        name="wide_sums", attrs={KERNEL: WIDE_SUMS},
    )  # fmt: skip
