"""Add tensors where they are, instead of broadcasting, stacking and reducing them.

    Given:   s = stack((broadcast_to(a, shape), broadcast_to(b, shape), c), axis=0);  y = sum(s, axis=0)
    Result:  y_0 = add(a, b);  y = add(y_0, c)

So the ONNX importer spells Sum; Max, Min and Mean likewise (maximum, minimum, add and one divide). The terms are
added from left to right as before, so the values are the same bit for bit, except that -0 + -0 stays -0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.bindings import Scope, operator, rewrite, static_shape

PAIRWISE = {
    "relax.sum": relax.op.add,
    "relax.mean": relax.op.add,
    "relax.max": relax.op.maximum,
    "relax.min": relax.op.minimum,
}


@tvm.transform.module_pass(opt_level=0, name="RewriteSum")
@dataclass(frozen=True)
class RewriteSum:
    """Turn stack + sum, mean, max or min into a chain of two-operand operators; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, "RewriteSum", _visit, "stack followed by sum, mean, max or min over its axis")


def _visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    reduce, var = binding.value, binding.var
    if operator(reduce) not in PAIRWISE:
        return None
    stack = scope.call(reduce.args[0], "relax.stack")
    if stack is None:
        return None
    fields, axis = scope.value(stack.args[0]), int(stack.attrs.axis or 0)
    if axis != 0 or [int(a) for a in reduce.attrs.axis or ()] != [0] or reduce.attrs.keepdims:
        found = f"reduces axes {reduce.attrs.axis} of a stack on axis {axis}, keepdims {bool(reduce.attrs.keepdims)}"
        scope.skip(var, f"it {found}; expected 0, 0 and False")
        return None
    if not isinstance(fields, relax.Tuple):
        scope.skip(var, "the tensors of its stack are not known one by one")
        return None
    if operator(reduce) == "relax.mean" and not str(var.ty.dtype).startswith("float"):
        scope.skip(var, f"the mean of {var.ty.dtype} rounds in a way that a division does not")
        return None
    terms = _without_broadcast(scope, list(fields.fields), static_shape(var))
    result = terms[0]
    for i, term in enumerate(terms[1:]):
        value = PAIRWISE[operator(reduce)](result, term)
        last = i == len(terms) - 2 and operator(reduce) != "relax.mean"
        result = value if last else scope.emit(value, f"{var.name}_{i}")
    if operator(reduce) == "relax.mean":
        return relax.op.divide(result, relax.const(len(terms), str(var.ty.dtype)))
    return result


def _without_broadcast(scope: Scope, terms: list[relax.Expr], shape: tuple[int, ...] | None) -> list[relax.Expr]:
    """The tensors before broadcast_to, where the operators broadcast them to the same shape by themselves."""
    bare = []
    for term in terms:
        call = scope.call(term, "relax.broadcast_to")
        bare.append(call.args[0] if call is not None else term)
    shapes = [static_shape(term) for term in bare]
    known = [s for s in shapes if s is not None]
    return bare if len(known) == len(shapes) and np.broadcast_shapes(*known) == shape else terms
