"""Say clip and relu where the importer wrote loops with a minimum and a maximum.

    Given:   t = call_tir(maximum, (x,)) [0.0 inside];  y = call_tir(minimum, (t, const 6.0))
    Result:  y = clip(x, 0, 6)

One bound alone becomes nn.relu (maximum with 0), maximum or minimum; an infinite bound disappears. The same for
relax.maximum and relax.minimum with a constant, in either order. The loops are recognised by comparing them with
what TOPI generates, not by their name. Bounds from constants that are still computed (ONNX opset 11 on) need
FoldConstant before. Exact for every number; what a NaN becomes is as undefined as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import tvm
import tvm_ffi
from tvm import relax, tirx, topi

from tvm_split.passes.bindings import Scope, is_te, operator, rewrite, scalar

PAIRWISE = {"max": (relax.op.maximum, topi.maximum), "min": (relax.op.minimum, topi.minimum)}
KINDS = {"relax.maximum": "max", "relax.minimum": "min"}


class Bound(NamedTuple):
    """`data` is kept at or above (max) or below (min) `limit`."""

    kind: str
    data: relax.Expr
    limit: float | int


@tvm.transform.module_pass(opt_level=0, name="RewriteClip")
@dataclass(frozen=True)
class RewriteClip:
    """Turn minimum and maximum with constants into clip and relu; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, "RewriteClip", _visit, "minimum or maximum with a constant")


def _visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    outer = _bound(scope, binding.value)
    if outer is None or operator(binding.value) == "relax.nn.relu":
        return None
    if math.isinf(outer.limit) and (outer.limit < 0) == (outer.kind == "max"):
        return outer.data
    inner = _bound(scope, outer.data)
    if inner is not None and inner.kind != outer.kind:
        low, high = (inner.limit, outer.limit) if outer.kind == "min" else (outer.limit, inner.limit)
        if low <= high and not math.isinf(low) and not math.isinf(high):
            return relax.op.clip(inner.data, *(int(v) if v == int(v) else v for v in (low, high)))
        scope.skip(binding.var, f"its bounds {low} and {high} are not in order")
    dtype = str(binding.var.ty.dtype)
    if outer.kind == "max" and outer.limit == 0 and dtype.startswith("float"):
        return relax.op.nn.relu(outer.data)
    if operator(binding.value) == "relax.call_tir":
        return PAIRWISE[outer.kind][0](outer.data, relax.const(outer.limit, dtype))
    return None


def _bound(scope: Scope, expr: relax.Expr) -> Bound | None:
    call = scope.call(expr, "relax.nn.relu", "relax.call_tir", *KINDS)
    if call is None:
        return None
    if operator(call) == "relax.nn.relu":
        return Bound("max", call.args[0], 0.0)
    if operator(call) == "relax.call_tir":
        found = _bound_of_loops(scope, call)
    else:
        a, b = call.args
        data, limit = (a, scalar(b)) if scalar(b) is not None else (b, scalar(a))
        found = None if limit is None else Bound(KINDS[operator(call)], data, limit)
    return None if found is None or math.isnan(found.limit) else found


def _bound_of_loops(scope: Scope, call: relax.Call) -> Bound | None:
    """What a PrimFunc made from topi.maximum or topi.minimum and one number computes."""
    args = list(call.args[1].fields) if isinstance(call.args[1], relax.Tuple) else []
    if len(call.args) != 2 or not 1 <= len(args) <= 2 or not isinstance(call.args[0], tvm.ir.GlobalVar):
        return None
    kinds: set[str] = set()
    numbers: list[float | int] = []

    def look(node: tirx.Max | tirx.Min) -> None:
        kinds.add("max" if isinstance(node, tirx.Max) else "min")
        numbers.extend(side.value for side in (node.a, node.b) if isinstance(side, tirx.FloatImm | tirx.IntImm))

    tvm_ffi.structural_walk(scope.mod[call.args[0]].body, ((tirx.Max, tirx.Min), look))
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    limit = scalar(args[1]) if len(args) == 2 else numbers[0] if len(numbers) == 1 else None
    if limit is None or not is_te(scope, call, PAIRWISE[kind][1], args[0], args[1] if len(args) == 2 else limit):
        return None
    return Bound(kind, args[0], limit)
