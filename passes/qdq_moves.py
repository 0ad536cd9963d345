"""Operators that move or select elements, which work on codes as on the real numbers that they stand for.

No pass by itself. `moved(call, args)` is the call with codes in place of what the codes stand for. Selecting the
largest is among them because scales are positive.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_split.passes.bindings import operator
from tvm_split.passes.fold_pad import Pad
from tvm_split.passes.qdq_values import TOP, Steps

#: of one tensor, their first argument
_MOVES = (
    "reshape permute_dims squeeze expand_dims flatten broadcast_to strided_slice take tile repeat flip split max min "
    "nn.pad nn.max_pool1d nn.max_pool2d nn.max_pool3d nn.batch_flatten nn.pixel_shuffle"
)
MOVES = frozenset(f"relax.{name}" for name in _MOVES.split())
NEAREST = ("nearest", "nearest_neighbor")


def moves(call: relax.Call) -> bool:
    """Whether the call only moves elements of its first argument, so that it may have codes instead."""
    name = operator(call)
    if name == "relax.nn.pad":
        return str(call.attrs.pad_mode) != "constant"
    if name == "relax.image.resize2d":
        return str(call.attrs.method) in NEAREST and call.attrs.out_dtype in (None, "", "void")
    if name == "relax.take" and isinstance(call.args[1], relax.Var):
        return not str(call.args[1].ty.dtype).startswith("float")
    return name in MOVES


def moved(call: relax.Call, codes: relax.Expr) -> relax.Call:
    """The call on codes; its type is to be inferred again."""
    return relax.Call(call.op, [codes, *call.args[1:]], call.attrs, call.ty_args)


def padded(pad: Pad, codes: relax.Expr, steps: Steps) -> relax.Call | None:
    """The pad on codes; None where it puts a number around the tensor that no code stands for."""
    code = steps.code(pad.value)
    return relax.op.nn.pad(codes, width_of(pad), "constant", float(code)) if steps.value(code) == pad.value else None


def width_of(pad: Pad) -> tuple[int, ...]:
    """As relax.nn.pad has it: before and after the first axis, the second ..."""
    return tuple(each for pair in zip(pad.before, pad.after, strict=True) for each in pair)


def joined(call: relax.Call, codes: Sequence[relax.Expr]) -> relax.Call:
    return relax.op.concat(list(codes), call.attrs.axis)


def changes_nothing(low: float, high: float, steps: Steps) -> bool:
    """Whether every number that a code stands for lies between the bounds."""
    return bool(low <= steps.value(0) and steps.value(TOP) <= high)
