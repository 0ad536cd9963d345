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

from tvm_split.passes.kernels.conv2d import KERNEL, int64

#: values of KERNEL
WIDE, WIDE_SUMS = "depthwise_wide", "depthwise_wide_sums"


def depthwise_wide(
    data: te.Tensor, weight: te.Tensor, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right, of `pad_value`."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    kernel_h, kernel_w, _ = (int(extent) for extent in weight.shape)
    (stride_h, stride_w), (step_h, step_w) = (tuple(map(int, pair)) for pair in (strides, dilation))
    top, left, bottom, right = map(int, padding)
    reach_h, reach_w = (kernel_h - 1) * step_h + 1, (kernel_w - 1) * step_w + 1
    out_h = (height + top + bottom - reach_h) // stride_h + 1
    out_w = (width + left + right - reach_w) // stride_w + 1
    rows, columns = (out_h - 1) * stride_h + reach_h, (out_w - 1) * stride_w + reach_w

    def value(n: tirx.Var, row: tirx.Var, column: tirx.Var, c: tirx.Var) -> tirx.Expr:
        inside = [row >= top] if top else []
        inside += [row < height + top] if rows > height + top else []
        inside += [column >= left] if left else []
        inside += [column < width + left] if columns > width + left else []
        loaded = data[n, row - top, column - left, c].astype("int16")
        return tirx.if_then_else(tirx.all(*inside), loaded, tirx.const(pad_value, "int16")) if inside else loaded

    wide = te.compute(int64(batch, rows, columns, channels), value, name="wide", attrs={KERNEL: WIDE})
    kh, kw = te.reduce_axis((0, *int64(kernel_h)), "kh"), te.reduce_axis((0, *int64(kernel_w)), "kw")
    return te.compute(
        int64(batch, out_h, out_w, channels),
        lambda n, h, w, c: te.sum(
            wide[n, h * stride_h + kh * step_h, w * stride_w + kw * step_w, c].astype("int32")
            * weight[kh, kw, c].astype("int32"),
            axis=[kh, kw],
        ),
        name="wide_sums", attrs={KERNEL: WIDE_SUMS},
    )  # fmt: skip
