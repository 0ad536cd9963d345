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

from tvm_split.passes.kernels.window import KERNEL, axes_of, int64, padded

#: value of KERNEL
DEPTHWISE = "depthwise"


def depthwise_conv2d(
    data: te.Tensor, weight: te.Tensor, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right, of `pad_value`."""
    batch, *space, channels = (int(extent) for extent in data.shape)
    kernel = [int(extent) for extent in weight.shape[:2]]
    down, along = axes_of(space, kernel, strides, padding, dilation)
    data = padded(data, [axis.spanned(axis.out) for axis in (down, along)], (down.before, along.before), pad_value)
    result = data.dtype if str(data.dtype).startswith("float") else "int32"
    kh, kw = (te.reduce_axis((0, *int64(size)), name) for size, name in zip(kernel, ("kh", "kw"), strict=True))
    return te.compute(
        int64(batch, down.out, along.out, channels),
        lambda n, h, w, c: te.sum(
            data[n, down.at(h, kh), along.at(w, kw), c].astype(result)
            * weight[kh, kw, c].astype(result),
            axis=[kh, kw],
        ),
        name="depthwise", attrs={KERNEL: DEPTHWISE},
    )  # fmt: skip
