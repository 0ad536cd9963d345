"""Rounding to 8-bit codes by one addition, where the processor would round, add, clip and convert.

    Given:   astype(max(min(nearbyint(x) + zero, most), least), "uint8")
    Result:  astype(nearest(x, least - zero, most - zero) + zero, "uint8")

nearest(x) adds M = 1.5 * 2^23 to x. Floats from 2^23 to 2^24 are the whole numbers, so the sum is rounded to one, half
to even as M is even, and its bits are those of M plus that number. Bits of positive floats are in the order of the
floats, so the upper bound is one of integers, whatever x is. The lower bound is applied before the addition: without
something between them, LLVM would make one instruction of a product and that, which rounds once. NaN gives a bound.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call

NEAREST = "tvm_split.nearest"
MAGIC, MAGIC_BITS = 12582912.0, 0x4B400000
ROUNDED = ("tirx.round", "tirx.nearbyint")
BOUNDS = {"uint8": (0.0, 255.0), "int8": (-128.0, 127.0)}
#: the largest zero point that is taken; any below 2^21 would do
FARTHEST = 255.0
_PURE = 1


def round_by_addition(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with codes rounded so; itself when there are none."""
    body = tvm_ffi.structural_map(func.body, [(tirx.Cast, _rewrite)])
    return func if body.same_as(func.body) else func.with_body(body)


def _rewrite(cast: tirx.Cast) -> tirx.Expr:
    bounds, value = BOUNDS.get(str(cast.ty)), cast.value
    if bounds is None:
        return cast
    ends: dict[type, float] = {}
    while type(value) in (tirx.Min, tirx.Max) and type(value) not in ends and isinstance(value.b, tirx.FloatImm):
        ends[type(value)] = float(value.b.value)
        value = value.a
    zero = 0.0
    if isinstance(value, tirx.Add) and isinstance(value.b, tirx.FloatImm):
        zero, value = float(value.b.value), value.a
    if len(ends) != 2 or not isinstance(value, Call) or getattr(value.op, "name", "") not in ROUNDED:
        return cast
    least, most = ends[tirx.Max], ends[tirx.Min]
    whole = all(number.is_integer() for number in (least, most, zero)) and abs(zero) <= FARTHEST
    if not whole or not bounds[0] <= least <= most <= bounds[1] or str(value.ty) != "float32":
        return cast
    limits = [tirx.const(int(bound - zero), "int32") for bound in (least, most)]
    nearest = tirx.call_intrin("int32", NEAREST, value.args[0], *limits)
    return (nearest + tirx.const(int(zero), "int32")).astype(cast.ty)


def _lower(call: Call) -> tirx.Expr:
    x, least, most = call.args
    lanes = tvm.DataType(str(call.ty)).lanes

    def number(value: float, dtype: str) -> tirx.Expr:
        constant = tirx.const(value, dtype)
        return constant if lanes == 1 else tirx.Broadcast(constant, lanes)

    def limit(bound: tirx.Expr) -> int:
        return int((bound.value if isinstance(bound, tirx.Broadcast) else bound).value)

    above = tirx.Max(x, number(float(limit(least)), "float32"))
    bits = tirx.reinterpret(str(call.ty), above + number(MAGIC, "float32"))
    return tirx.Min(bits, number(MAGIC_BITS + limit(most), "int32")) - number(MAGIC_BITS, "int32")


tvm.ir.register_op_attr(NEAREST, "TCallEffectKind", _PURE)
tvm.ir.register_op_attr(NEAREST, "TVectorizable", True)
tvm.ir.register_op_attr(NEAREST, "TScriptPrinterName", NEAREST, 20)
tirx.op.register_intrin_lowering(NEAREST, "default", f=_lower, level=99)
