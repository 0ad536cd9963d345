"""Depthwise 2-D convolution of channels-last data: each channel is convolved with a window of its own.

    data     [N][H][W][C] float32, or uint8
    weight   [KH][KW][C] float32, or int16 that hold what int8 can
    result   [N][OH][OW][C] float32, or int32, exact

Only vectors of channels are multiplied, so the weights need no packing. The schedule (schedule/depthwise.py) finds the
block by its annotation.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te

from tvm_split.passes.kernels.conv2d import KERNEL, int64, padded

#: value of KERNEL
DEPTHWISE = "depthwise"


def depthwise_conv2d(
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
    data = padded(data, ((out_h - 1) * stride_h + reach_h, (out_w - 1) * stride_w + reach_w), (top, left), pad_value)
    result = "float32" if data.dtype == "float32" else "int32"
    kh, kw = te.reduce_axis((0, *int64(kernel_h)), "kh"), te.reduce_axis((0, *int64(kernel_w)), "kw")
    return te.compute(
        int64(batch, out_h, out_w, channels),
        lambda n, h, w, c: te.sum(
            data[n, h * stride_h + kh * step_h, w * stride_w + kw * step_w, c].astype(result)
            * weight[kh, kw, c].astype(result),
            axis=[kh, kw],
        ),
        name="depthwise", attrs={KERNEL: DEPTHWISE},
    )  # fmt: skip
