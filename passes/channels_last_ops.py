"""How each operator computes on tensors whose axes stand in another order in memory: the table of channels-last.

No pass by itself. A rule takes a call and its arguments as they are stored; it gives the call that computes the same
from them, and the order that its result is stored in; None where it cannot. Axes that an operator names follow the
order, elementwise operators keep it, a reshape keeps it where it splits and joins axes that stand together, and
permute_dims changes the order alone: it moves nothing.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from tvm_split.passes.axis_order import (
    Answer,
    Order,
    Rule,
    Stored,
    literal,
    permuted,
    permuted_order,
    reshaped,
)
from tvm_split.passes.bindings import constant, maker, operator, static_shape
from tvm_split.passes.channels_last_windows import ANCHORS, pool3d
from tvm_split.passes.fuse_activation import ELEMENTWISE


def _elementwise(call: relax.Call, args: list[Any]) -> Answer:
    rank = len(static_shape(call) or ())
    order = next((arg.order for arg in args if isinstance(arg, Stored) and len(arg.order) == rank), None)
    if order is None:
        return None
    read = []
    for arg in args:
        if isinstance(arg, Stored):
            if arg.order != order and (math.prod(arg.shape) != 1 or len(arg.order) > rank):
                return None
            arg = arg.expr
        elif constant(arg) is not None:
            arg = literal(arg, order)
            if arg is None:
                return None
        read.append(arg)
    return relax.Call(call.op, read, call.attrs, call.ty_args), order


def _axes(axis: Any, order: Order) -> list[int]:
    """Where the axes (all of them for None) are in memory."""
    named = range(len(order)) if axis is None else [axis] if isinstance(axis, int) else axis
    return [order.index(int(each) % len(order)) for each in named]


def _reduction(call: relax.Call, args: list[Any]) -> Answer:
    (data,), attrs = args, call.attrs
    axes = sorted(_axes(attrs.axis, data.order))
    if operator(call) in ("relax.argmax", "relax.argmin"):
        if attrs.axis is None:  # the index into all elements
            return None
        made = maker(call)(data.expr, axes[0], attrs.keepdims)
    else:
        made = maker(call)(data.expr, axes, attrs.keepdims)
    if attrs.keepdims:
        return made, data.order
    kept = [axis for i, axis in enumerate(data.order) if i not in axes]
    return made, tuple(sorted(kept).index(axis) for axis in kept)


def _softmax(call: relax.Call, args: list[Any]) -> Answer:
    return maker(call)(args[0].expr, _axes(call.attrs.axis, args[0].order)[0]), args[0].order


def _prelu(call: relax.Call, args: list[Any]) -> Answer:
    data, slope = args
    return maker(call)(data.expr, _plain(slope), _axes(call.attrs.axis, data.order)[0]), data.order


def _plain(arg: Any) -> relax.Expr:
    """An argument of one axis, which has no order to follow."""
    return arg.expr if isinstance(arg, Stored) else arg


def _norm(call: relax.Call, args: list[Any]) -> Answer:
    data, weights, attrs = args[0], [_plain(arg) for arg in args[1:]], call.attrs
    if any(len(static_shape(weight) or ()) != 1 for weight in weights):
        return None
    last = {"epsilon": attrs.epsilon, "center": attrs.center, "scale": attrs.scale}
    if operator(call) == "relax.nn.batch_norm":
        last |= {"momentum": attrs.momentum, "training": attrs.training}
        made = maker(call)(data.expr, *weights, _axes(attrs.axis, data.order)[0], **last)
        return made, [data.order, (0,), (0,)]
    axes = _axes(attrs.axes, data.order)
    if operator(call) == "relax.nn.layer_norm":
        return maker(call)(data.expr, *weights, axes, **last), data.order
    (channel,) = _axes(attrs.channel_axis, data.order)
    groups = [attrs.num_groups] if operator(call) == "relax.nn.group_norm" else []
    return maker(call)(data.expr, *weights, *groups, channel, sorted(axes), **last), data.order


def _concat(call: relax.Call, args: list[Any]) -> Answer:
    order = next((part.order for part in args[0] if isinstance(part, Stored)), None)
    if order is None or call.attrs.axis is None:
        return None
    parts = [part.expr if isinstance(part, Stored) else literal(part, order) for part in args[0]]
    if any(isinstance(part, Stored) and part.order != order for part in args[0]) or None in parts:
        return None
    return relax.op.concat(parts, _axes(call.attrs.axis, order)[0]), order


def _split(call: relax.Call, args: list[Any]) -> Answer:
    (data,), sections = args, call.attrs.indices_or_sections
    made = relax.op.split(data.expr, sections, _axes(call.attrs.axis, data.order)[0])
    return made, [data.order] * len(call.ty.fields)


def _strided_slice(call: relax.Call, args: list[Any]) -> Answer:
    data, axes = args[0], call.args[1]
    if not isinstance(axes, relax.Tuple):
        return None
    where = _axes(list(axes.fields), data.order)
    moved = relax.Tuple([relax.prim_value(each) for each in where])
    return relax.Call(call.op, [data.expr, moved, *call.args[2:]], call.attrs, call.ty_args), data.order


def _pad(call: relax.Call, args: list[Any]) -> Answer:
    data, width = args[0], [int(each) for each in call.attrs.pad_width]
    moved = [each for axis in data.order for each in width[2 * axis : 2 * axis + 2]]
    return relax.op.nn.pad(data.expr, moved, str(call.attrs.pad_mode), call.attrs.pad_value), data.order


def _reshape(call: relax.Call, args: list[Any]) -> Answer:
    data, target = args[0], static_shape(call)
    if target is None:
        return None
    order = reshaped(data.shape, data.order, target)
    return None if order is None else (relax.op.reshape(data.expr, permuted(target, order)), order)


def _quantized(call: relax.Call, args: list[Any]) -> Answer:
    """quantize and dequantize: one scale, or one for each element of an axis, which moves as all axes do."""
    data, *constants = args
    if not isinstance(data, Stored) or any(isinstance(each, Stored) for each in constants):
        return None
    axis = data.order.index(int(call.attrs.axis) % len(data.order)) if data.order else 0
    return maker(call)(data.expr, *constants, axis, call.attrs.out_dtype), data.order


def _permute_dims(call: relax.Call, args: list[Any]) -> Answer:
    return args[0].expr, permuted_order(call, args[0].order)


_KEEP = (
    "astype equal not_equal greater greater_equal less less_equal logical_and logical_or "
    "logical_not bitwise_not tan sinh cosh asin acos atan mod floor_mod isnan isfinite isinf"
)
_BY_WORDS: list[tuple[str, Rule]] = [
    (_KEEP, _elementwise),
    ("mean sum max min prod std variance argmax argmin", _reduction),
    ("reshape squeeze expand_dims flatten nn.batch_flatten", _reshape),
    ("nn.batch_norm nn.layer_norm nn.group_norm nn.instance_norm", _norm),
    ("nn.softmax nn.log_softmax", _softmax),
    ("quantize dequantize", _quantized),
    ("nn.max_pool3d nn.avg_pool3d", pool3d),
]
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **{f"relax.{word}": rule for words, rule in _BY_WORDS for word in words.split()},
    "relax.nn.prelu": _prelu, "relax.concat": _concat, "relax.split": _split, "relax.nn.pad": _pad,
    "relax.strided_slice": _strided_slice, "relax.permute_dims": _permute_dims, **ANCHORS,
}  # fmt: skip


def is_anchor(value: relax.Expr) -> bool:
    """Whether the call wants channels last: it is laid out NC..., or takes the mean or sum over all of H and W."""
    name = operator(value)
    if name in ANCHORS:
        layout = str(value.attrs.data_layout if ".conv" in name else value.attrs.layout)
        return layout.startswith("NC") and str(value.args[0].ty.dtype).startswith(("float", "uint8"))
    if name not in ("relax.mean", "relax.sum") or len(static_shape(value.args[0]) or ()) != 4:
        return False
    return sorted(int(axis) % 4 for axis in value.attrs.axis or ()) == [2, 3]
