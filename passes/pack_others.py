"""What pack-weights makes of operators other than conv2d and the product with a constant matrix.

A rule takes the packer and a call; it gives the call of a kernel of ours, or the reason why the operator stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tvm
from tvm import relax, te

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.kernels.batch_matmul import batch_matmul
from tvm_split.passes.kernels.conv1d import conv1d_packed, pack_conv1d
from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.conv2d_transpose import pack_points, pack_transposed, transposed_packed, transposed_points
from tvm_split.passes.kernels.row_softmax import row_softmax
from tvm_split.passes.kernels.widened import widened
from tvm_split.passes.kernels.window import dilated
from tvm_split.passes.pack_int8 import Kernel
from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tiles import MIN_LANES, tile_of

DTYPE = "float32"
#: rows of a product below which packing the other matrix costs more than it gains
MIN_ROWS = 4
#: elements of a row from which softmax is worth lanes of its own
MIN_SOFTMAX = 32
#: data, kernel and result, as channels-last leaves them
CONV1D = ("NWC", "WIO", "NWC")
TRANSPOSED = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}


class Packer(Protocol):
    """What a rule needs of pack-weights."""

    target: tvm.target.Target
    machine: Machine
    marked: bool
    builder_: Any

    def lookup_binding(self, var: relax.Var) -> relax.Expr | None: ...
    def computes(self, data: relax.Expr, weight: np.ndarray, call: relax.Call) -> bool: ...
    def fitting(self, weight: np.ndarray) -> Machine: ...
    def weight(self, expr: relax.Expr) -> np.ndarray | None: ...
    def literal(self, packed: np.ndarray) -> relax.Expr: ...
    def literals(self, packed: np.ndarray, tiled: bool | None = True) -> list[relax.Expr]: ...
    def product(self, data: relax.Expr, weight: np.ndarray) -> relax.Expr: ...
    def integers(self, data: relax.Expr, kernel: Kernel) -> relax.Expr: ...
    def computed(self, kernel: Callable[..., te.Tensor], data: relax.Expr, *others: relax.Expr) -> relax.Expr: ...


def conv1d(packer: Packer, call: relax.Call) -> relax.Expr | str:
    """A convolution of rows."""
    weight = packer.weight(call.args[1])
    reason = _reason(call, weight, CONV1D)
    if reason or weight is None:
        return reason
    kernel, inner, channels = weight.shape
    attrs, groups = call.attrs, int(call.attrs.groups)
    stride, dilation, (left, right) = int(attrs.strides[0]), int(attrs.dilation[0]), map(int, attrs.padding)
    if (kernel, groups, stride, left, right) == (1, 1, 1, 0, 0):
        return packer.product(call.args[0], weight[0])
    if not whole_groups(channels, groups):
        return f"its groups have {channels // groups} output channels, no multiple of {MIN_LANES}"
    row = (static_shape(call) or ())[1]
    tile = tile_of(packer.machine, row, channels // groups, kernel * inner, DTYPE, exact=groups > 1)
    literals = packer.literals(pack_conv1d(weight, tile.channels))

    def conv1d(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        return conv1d_packed(x, widened(x, *w), channels, tile, stride, (left, right), dilation, groups)

    return packer.computed(conv1d, call.args[0], *literals)


def column(packer: Packer, call: relax.Call, weight: np.ndarray) -> relax.Expr | None:
    """A 2-D convolution, NHWC and HWIO, of images that are one column; None of any other."""
    attrs, groups, (kernel, kernel_w, inner, channels) = call.attrs, int(call.attrs.groups), weight.shape
    top, left, bottom, right = map(int, attrs.padding)
    height, width = (static_shape(call) or ())[1:3]
    if (kernel_w, width, left, right) != (1, 1, 0, 0) or height == 1 or (static_shape(call.args[0]) or ())[2] != 1:
        return None
    stride, dilation = int(attrs.strides[0]), int(attrs.dilation[0])
    tile = tile_of(packer.machine, height, channels // groups, kernel * inner, DTYPE, exact=groups > 1)
    literals = packer.literals(pack_conv1d(weight[:, 0], tile.channels))

    def conv2d(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        return conv1d_packed(x, widened(x, *w), channels, tile, stride, (top, bottom), dilation, groups)

    return packer.computed(conv2d, call.args[0], *literals)


def transposed(packer: Packer, call: relax.Call) -> relax.Expr | str:
    """A transposed convolution of one or two axes, its kernel (W)HWIO with the channels of all groups in I and O."""
    weight, rank = packer.weight(call.args[1]), len(call.attrs.strides)
    reason = _reason(call, weight, TRANSPOSED[rank])
    if reason or weight is None:
        return reason
    attrs, groups = call.attrs, int(call.attrs.groups)
    strides, dilation, padding = ([int(n) for n in each] for each in (attrs.strides, attrs.dilation, attrs.padding))
    weight = by_group(weight, groups)
    *kernel, inner, channels = weight.shape
    if not whole_groups(channels, groups):
        return f"its groups have {channels // groups} output channels, no multiple of {MIN_LANES}"
    around = [(k - 1) * d - p for k, d, p in zip(kernel * 2, dilation * 2, padding, strict=True)]
    if set(strides) == {1} and min(around) >= 0:
        return _turned(packer, call, weight, around, dilation)
    weight = dilated(weight, dilation)
    if list(weight.shape[:rank]) == strides and groups == 1 and not any((*padding, *attrs.output_padding)):
        points = _points(packer, call, weight, strides)
        if points is not None:
            return points
    kernel, before, extents = list(weight.shape[:rank]), padding[:rank], (static_shape(call) or ())[1:-1]
    taps = [-(-k // s) for k, s in zip(kernel, strides, strict=True)]
    row, terms = -(-extents[-1] // strides[-1]), int(np.prod(taps)) * inner
    tile = tile_of(packer.machine, row, channels // groups, terms, DTYPE, exact=groups > 1)
    literals = packer.literals(pack_transposed(weight, strides, before, tile.channels), tiled=None)

    def conv_transpose(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        return transposed_packed(x, widened(x, *w), extents, channels, tile, kernel, strides, before, groups)

    return packer.computed(conv_transpose, call.args[0], *literals)


def _points(packer: Packer, call: relax.Call, weight: np.ndarray, strides: Sequence[int]) -> relax.Expr | None:
    """Transposed with a kernel as large as its stride: where all phases of the result fit one tile, they are one."""
    *_, inner, channels = weight.shape
    width, every = (static_shape(call.args[0]) or ())[-2], channels * int(np.prod(strides))
    tile = tile_of(packer.machine, width, every, inner, DTYPE)
    if tile.channels != every or channels >= tile.lanes:
        return None
    literals = packer.literals(pack_points(weight, every), tiled=None)

    def conv_transpose(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        return transposed_points(x, widened(x, *w), strides, channels, tile)

    return packer.computed(conv_transpose, call.args[0], *literals)


def product_of_two(packer: Packer, call: relax.Call) -> relax.Expr | str:
    """A product of activations."""
    a, b = call.args
    if {str(each.ty.dtype) for each in (a, b, call)} != {DTYPE}:
        return f"it computes {call.ty}, expected {DTYPE}"
    left, right = static_shape(a) or (), static_shape(b) or ()
    if min(len(left), len(right)) < 2 or left[-2] < MIN_ROWS or right[-1] < MIN_LANES:
        return f"it is {left} times {right}, too few rows or columns for tiles"
    (rows, terms), columns = left[-2:], right[-1]
    tile = tile_of(packer.machine, rows, columns, terms, DTYPE)

    def matmul(x: te.Tensor, y: te.Tensor) -> te.Tensor:
        return batch_matmul(x, y, tile)

    return packer.computed(matmul, a, b)


def softmax(packer: Packer, call: relax.Call) -> relax.Expr | str:
    """Softmax, or its logarithm, over the last axis."""
    (data,), shape = call.args, static_shape(call)
    if shape is None or str(data.ty.dtype) != DTYPE:
        return f"it computes {call.ty}, expected {DTYPE} of known dimensions"
    if int(call.attrs.axis) not in (-1, len(shape) - 1) or len(shape) < 2 or shape[-1] < MIN_SOFTMAX:
        return f"it is over axis {call.attrs.axis} of {shape}, expected the last one, of {MIN_SOFTMAX} elements or more"
    logarithm = operator(call) == "relax.nn.log_softmax"

    def softmax(x: te.Tensor) -> te.Tensor:
        return row_softmax(x, logarithm)

    return packer.computed(softmax, data)


def _turned(
    packer: Packer, call: relax.Call, weight: np.ndarray, padding: Sequence[int], dilation: Sequence[int]
) -> relax.Expr:
    """Transposed with stride 1: the convolution with the kernel turned round."""
    *kernel, inner, channels = weight.shape
    rank, groups, row = len(kernel), int(call.attrs.groups), (static_shape(call) or ())[-2]
    terms = int(np.prod(kernel)) * inner
    tile = tile_of(packer.machine, row, channels // groups, terms, DTYPE, exact=groups > 1)
    turned = np.flip(weight, tuple(range(rank)))
    pack = pack_conv2d if rank == 2 else pack_conv1d
    literals = packer.literals(pack(turned, tile.channels), tiled=None)

    def conv_transpose(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
        if rank == 2:
            return conv2d_packed(x, widened(x, *w), channels, tile, [1, 1], padding, dilation, groups)
        return conv1d_packed(x, widened(x, *w), channels, tile, 1, (padding[0], padding[1]), dilation[0], groups)

    return packer.computed(conv_transpose, call.args[0], *literals)


def whole_groups(channels: int, groups: int) -> bool:
    """Whether vectors of output channels fit the groups."""
    return groups == 1 or channels // groups % MIN_LANES == 0


def by_group(weight: np.ndarray, groups: int) -> np.ndarray:
    """[K]... [I] [O / groups] -> [K]... [I / groups] [O]."""
    *kernel, inner, outer = weight.shape
    split = weight.reshape(*kernel, groups, inner // groups, outer)
    return np.moveaxis(split, -3, -2).reshape(*kernel, inner // groups, groups * outer)


def _reason(call: relax.Call, weight: np.ndarray | None, expected: tuple[str, ...]) -> str:
    """Why the convolution stays; empty when it need not."""
    attrs, data = call.attrs, call.args[0]
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if layouts != expected:
        return f"its layouts are {', '.join(layouts)}, expected {', '.join(expected)}"
    if static_shape(data) is None or weight is None:
        return "it has no constant weights, or a symbolic shape"
    if {str(data.ty.dtype), str(weight.dtype), str(call.ty.dtype)} != {DTYPE}:
        return f"it computes in {call.ty.dtype}, expected {DTYPE}"
    return ""


#: rules by operator
OTHERS: dict[str, Callable[[Packer, relax.Call], relax.Expr | str]] = {
    "relax.nn.conv1d": conv1d,
    "relax.nn.conv1d_transpose": transposed,
    "relax.nn.softmax": softmax,
    "relax.nn.log_softmax": softmax,
    "relax.nn.conv2d_transpose": transposed,
}
