"""Remove what computes nothing.

    Given:   t = dropout(x)[0];  u = reshape(t, same shape);  v = multiply(u, 1.0);  y = relu(v)
    Result:  y = relu(x)

Also gone: astype to the same type, broadcast_to the same shape, permute_dims that keeps the order or undoes another
one, reshape of a reshape (only the last stays), expand_dims and squeeze of nothing, concat and split of one, pad by
nothing, x + 0, x - 0, x * 1, x / 1, relu of relu. Exact, except that -0 + 0 stays -0. An operator whose result has
another type than its operand (a broadcast, a promotion) always stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_split.passes.bindings import Scope, constant, operator, rewrite, same_type

#: operators that change nothing where the types of operand and result are the same
SHAPING = tuple(f"relax.{n}" for n in "reshape flatten astype broadcast_to expand_dims squeeze split".split())
#: operator -> the constant that leaves the other operand as it is, and whether the constant may come first
NEUTRAL = {
    "relax.add": (0, True), "relax.subtract": (0, False), "relax.multiply": (1, True), "relax.divide": (1, False),
}  # fmt: skip


@tvm.transform.module_pass(opt_level=0, name="RemoveIdentity")
@dataclass(frozen=True)
class RemoveIdentity:
    """Bind readers of an operator that computes nothing to its operand; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, "RemoveIdentity", _visit, "operator that returns its operand")


def _visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    operand = _operand(scope, binding.value)
    if operand is not None and same_type(operand, binding.var) and not isinstance(operand, tvm.ir.GenericConst):
        return operand
    rule = SHORTER.get(operator(binding.value))
    return rule(scope, binding.value) if rule is not None else None


def _operand(scope: Scope, value: relax.Expr) -> relax.Expr | None:
    """The expression that `value` equals if the types agree."""
    if isinstance(value, relax.TupleGetItem):
        source = scope.value(value.tuple_value)
        if isinstance(source, relax.Tuple):
            return source.fields[value.index]
        if operator(source) in ("relax.nn.dropout", "relax.split") and value.index == 0:
            return source.args[0]
        return None
    name = operator(value)
    if name in SHAPING:
        return value.args[0]
    if name == "relax.nn.relu":
        return value.args[0] if scope.call(value.args[0], name) is not None else None
    if name == "relax.permute_dims":
        return value.args[0] if _axes(value) == list(range(len(_axes(value)))) else None
    if name == "relax.nn.pad":
        return None if any(int(width) for width in value.attrs.pad_width) else value.args[0]
    if name == "relax.concat":
        fields = scope.value(value.args[0])
        return fields.fields[0] if isinstance(fields, relax.Tuple) and len(fields.fields) == 1 else None
    if name in NEUTRAL:
        neutral, either = NEUTRAL[name]
        a, b = value.args
        for data, other in ((a, b), (b, a))[: 2 if either else 1]:
            array = constant(other)
            if array is not None and (array == neutral).all():
                return data
    return None


def _axes(call: relax.Call) -> list[int]:
    rank = int(call.args[0].ty.ndim)
    return [int(a) % rank for a in call.attrs.axes] if call.attrs.axes else list(reversed(range(rank)))


def _one_reshape(scope: Scope, value: relax.Call) -> relax.Expr | None:
    inner = scope.call(value.args[0], "relax.reshape")
    return relax.op.reshape(inner.args[0], value.args[1]) if inner is not None else None


def _one_permute(scope: Scope, value: relax.Call) -> relax.Expr | None:
    inner = scope.call(value.args[0], "relax.permute_dims")
    if inner is None:
        return None
    first = _axes(inner)
    axes = [first[a] for a in _axes(value)]
    return inner.args[0] if axes == list(range(len(axes))) else relax.op.permute_dims(inner.args[0], axes)


SHORTER: dict[str, Callable[[Scope, relax.Call], relax.Expr | None]] = {
    "relax.reshape": _one_reshape,
    "relax.permute_dims": _one_permute,
}
