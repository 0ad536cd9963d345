"""What pack-weights makes of convolutions of two axes: dense ones and those of groups, depthwise ones, products.

One of 1x1 without stride or padding is a product. Dense ones that choose-winograd marked are pack_winograd.py's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import relax, te

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.conv2d_merged import conv2d_merged
from tvm_split.passes.kernels.depthwise import depthwise_conv2d
from tvm_split.passes.kernels.depthwise_int8 import depthwise_int8
from tvm_split.passes.kernels.widened import widened
from tvm_split.passes.pack_int8 import conv2d_int8
from tvm_split.passes.pack_others import Packer, column, whole_groups
from tvm_split.passes.pack_winograd import winograd
from tvm_split.passes.schedule.tasks import conv_tile_of
from tvm_split.passes.schedule.tiles import MIN_LANES, tile_of


def conv2d(packer: Packer, call: relax.Call, only_reader: bool) -> relax.Expr | str:
    """The call of a kernel of ours, or the reason why the convolution stays.

    only_reader: of its data, so that a padding before it may become part of the kernel.
    """
    attrs, data, weight = call.attrs, call.args[0], packer.weight(call.args[1])
    shape = static_shape(data)
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if layouts != ("NHWC", "HWIO", "NHWC"):
        return f"its layouts are {', '.join(layouts)}, expected NHWC, HWIO, NHWC"
    if shape is None or weight is None or not packer.computes(data, weight, call):
        return "it has no constant weights of float32, int8 for uint8 data or (fullfp16) float16, or no known shape"
    kernel_h, kernel_w, inner, channels = weight.shape
    strides, padding, dilation = ([int(n) for n in each] for each in (attrs.strides, attrs.padding, attrs.dilation))
    groups, pad_value = int(attrs.groups), 0
    integers = weight.dtype == "int8"
    if integers and only_reader:
        data, padding, pad_value = unpadded(packer, data, padding)
    if groups == shape[-1] == channels and groups > 1:
        return depthwise(packer, data, weight, strides, padding, dilation, pad_value)
    if (kernel_h, kernel_w, groups, *strides, *padding) == (1, 1, 1, 1, 1, 0, 0, 0, 0):
        return packer.product(data, weight[0, 0])
    (_, *shape_out, _), terms = static_shape(call) or (), kernel_h * kernel_w * inner
    if integers:
        kernel = conv2d_int8(weight, packer.target, shape_out[1], strides, padding, dilation, groups, pad_value)
        return packer.integers(data, kernel)
    if not whole_groups(channels, groups):
        return f"its groups have {channels // groups} output channels, no multiple of {MIN_LANES}"
    found = column(packer, call, weight) if str(weight.dtype) == "float32" else None
    if found is not None:
        return found
    if packer.marked:
        return winograd(packer, call, weight)
    machine, dtype = packer.fitting(weight), str(weight.dtype)
    if groups > 1:
        tile = tile_of(machine, shape_out[1], channels // groups, terms, dtype, exact=True)
    else:
        window = kernel_h, kernel_w, inner
        tile = conv_tile_of(
            machine, (shape_out[0], shape_out[1]), channels, window, strides[0], dtype, padded=any(padding)
        )
    literals = packer.literals(pack_conv2d(weight, tile.channels))

    def conv2d(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        if tile.merged:
            return conv2d_merged(x, widened(x, *w), channels, tile, strides, padding, dilation)
        return conv2d_packed(x, widened(x, *w), channels, tile, strides, padding, dilation, groups)

    return packer.computed(conv2d, data, *literals)


def unpadded(packer: Packer, data: relax.Expr, padding: list[int]) -> tuple[relax.Expr, list[int], int]:
    """The data of an nn.pad of rows and columns, and the padding with that of the nn.pad added; its value."""
    pad = packer.lookup_binding(data) if isinstance(data, relax.Var) else None
    if pad is None or operator(pad) != "relax.nn.pad" or str(pad.attrs.pad_mode) != "constant":
        return data, padding, 0
    widths, value = [int(n) for n in pad.attrs.pad_width], float(pad.attrs.pad_value)
    outer, (top, bottom, left, right) = (*widths[:2], *widths[6:]), widths[2:6]
    if any(outer) or min(widths) < 0 or (any(padding) and value) or value not in range(256):
        return data, padding, 0
    added = zip(padding, (top, left, bottom, right), strict=True)
    return pad.args[0], [own + other for own, other in added], int(value)


def depthwise(
    packer: Packer, data: relax.Expr, weight: np.ndarray, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], pad_value: int = 0,
) -> relax.Expr:  # fmt: skip
    if weight.dtype == "int8":
        window = weight[:, :, 0, :]
        packed, kernel = depthwise_int8(window, packer.target, strides, padding, dilation, pad_value)
        return packer.builder_.call_te(kernel, data, packer.literal(packed))
    literals = packer.literals(np.ascontiguousarray(weight[:, :, 0, :]), tiled=False)

    def depthwise(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        return depthwise_conv2d(x, widened(x, *w), strides, padding, dilation, pad_value)

    return packer.computed(depthwise, data, *literals)
