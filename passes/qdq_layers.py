"""Convolutions and matrix products of codes, and what makes codes or reals of their sums, in Relax.

No pass by itself. `Emit` binds a value to a new variable of that name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.qdq_arithmetic import along, fits, offsets, reach, rescale, signed
from tvm_split.passes.qdq_values import TOP, Fixed, Real, Steps, Sums
from tvm_split.passes.stored_weights import StoredWeights

Emit = Callable[[relax.Expr, str], relax.Var]

CONVOLUTIONS = {"relax.nn.conv1d": relax.op.nn.conv1d, "relax.nn.conv2d": relax.op.nn.conv2d}


def sums(emit: Emit, call: relax.Call, name: str, data: Real, weight: Fixed) -> Sums | str:
    """The convolution or product of codes, bound to `name`; or why it stays in float32."""
    codes = signed(weight)
    if codes is None:
        return f"its weights are {weight.codes.dtype} with a zero point that int8 cannot have as 0"
    shape = static_shape(call)
    if shape is None or str(call.ty.dtype) != "float32":
        return "its result is no float32 tensor of known shape"
    product = operator(call) == "relax.matmul"
    if product and codes.ndim != 2:
        return f"its weights have {codes.ndim} axes, expected 2"
    out, axis = (1, -1) if product else _channels(call)
    scale = along(weight.scale, out)
    if scale is None:
        return "its weights' scale differs along another axis than the output channels"
    reached, offset = reach(codes, out), offsets(codes, out, data.steps.zero)
    if not fits(reached, offset):
        return f"a sum of {codes.size // codes.shape[out]} products may leave int32"
    kernel = relax.const(codes, "int8")
    if product:
        raw = relax.op.matmul(data.codes, kernel, out_dtype="int32")
    else:
        raw = _convolution(emit, call, name, data, kernel)
    return Sums(emit(raw, name), offset, np.float32(data.steps.scale) * scale.astype(np.float32), axis, reached)


def stored(call: relax.Call, weight: Fixed) -> StoredWeights | None:
    """The weights of a float layer as int8 with scales of its output channels; None where they are no such codes."""
    codes = signed(weight)
    product = operator(call) == "relax.matmul"
    if codes is None or (product and codes.ndim != 2):
        return None
    axis = 1 if product else str(call.attrs.kernel_layout).index("O")
    scale = along(weight.scale, axis)
    if scale is None:
        return None
    return StoredWeights(codes, np.ascontiguousarray(np.broadcast_to(scale, codes.shape[axis])), axis)


def _channels(call: relax.Call) -> tuple[int, int]:
    """The axis of the output channels in the kernel, and in the result counted from the end."""
    attrs, rank = call.attrs, int(call.ty.ndim)
    layout = str(attrs.out_layout) or str(attrs.data_layout)
    return str(attrs.kernel_layout).index("O"), layout.index("C") - rank


def _convolution(emit: Emit, call: relax.Call, name: str, data: Real, kernel: relax.Expr) -> relax.Call:
    attrs, layout = call.attrs, str(call.attrs.data_layout)
    before = [int(each) for each in attrs.padding]
    source, width = data.codes, [0] * (2 * len(layout))
    spatial = [i for i, axis in enumerate(layout) if axis not in "NC"]
    for i, axis in enumerate(spatial):
        width[2 * axis : 2 * axis + 2] = before[i], before[i + len(spatial)]
    if data.inside is not None:  # zeros around it already: one pad puts both
        source, width = data.inside, [a + b for a, b in zip(width, data.width, strict=True)]
    if any(width):
        source = emit(relax.op.nn.pad(source, width, "constant", float(data.steps.zero)), f"{name}_padded")
    return CONVOLUTIONS[operator(call)](
        source, kernel, strides=attrs.strides, padding=0, dilation=attrs.dilation, groups=attrs.groups,
        data_layout=layout, kernel_layout=attrs.kernel_layout, out_layout=attrs.out_layout, out_dtype="int32",
    )  # fmt: skip


def _literal(array: np.ndarray, made: Sums) -> relax.Expr:
    """One number a channel, as it broadcasts against the sums; one for all stays one."""
    if array.size == 1:
        return relax.const(array.reshape(()), str(array.dtype))
    return relax.const(array.reshape(-1, *[1] * (-made.axis - 1)), str(array.dtype))


def _scaled(emit: Emit, made: Sums, scale: np.ndarray, name: str) -> relax.Call:
    total = made.raw
    if made.offset.any():
        total = emit(relax.op.add(total, _literal(made.offset.astype(np.int32), made)), f"{name}_sum")
    return relax.op.multiply(emit(relax.op.astype(total, "float32"), f"{name}_float"), _literal(scale, made))


def reals(emit: Emit, made: Sums, name: str) -> relax.Call:
    """What the sums stand for, in float32, without the bounds."""
    return _scaled(emit, made, made.scale, name)


def codes(emit: Emit, made: Sums, steps: Steps, name: str) -> relax.Call:
    """The codes of the sums. A bound of their activation is one of the codes' own, since rounding keeps the order."""
    low, high = (0 if np.isinf(bound) else steps.code(bound) for bound in (made.low, made.high))
    high = TOP if np.isinf(made.high) else high
    level = emit(_scaled(emit, made, rescale(made.scale, steps), name), f"{name}_scaled")
    level = emit(relax.op.round(level), f"{name}_round")
    if steps.zero:
        level = emit(relax.op.add(level, relax.const(np.float32(steps.zero))), f"{name}_zero")
    return relax.op.astype(emit(relax.op.clip(level, low, high), f"{name}_clip"), "uint8")
