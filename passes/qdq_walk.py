"""The walk over a quantised network's bindings: what each variable holds, and what held it in float where that is read.

No pass by itself: lower-qdq's rules decide, this builds the function.
"""

from __future__ import annotations

from typing import TypeAlias

import tvm
from tvm import relax

from tvm_split.passes.bindings import Scope, bind, operator, scalar
from tvm_split.passes.layering import free_vars, replace_main, substitute
from tvm_split.passes.qdq_layers import reals
from tvm_split.passes.qdq_values import SHIFT, Fixed, Real, Recoded, Sums

#: what a variable holds: an expression that is it, codes, sums, a constant, or a tuple's parts
Value: TypeAlias = "relax.Expr | Recoded | Real | Sums | Fixed | list[Value]"


class Walk:
    """The function being built.

    `values` tells what each old variable holds, `made` where what it held is by now. `zeros` maps codes with zeros put
    around them, and their zero point, to the codes inside and the number of zeros before and after each axis. `shared`:
    what is read in more than one way.
    """

    def __init__(self, mod: tvm.IRModule, function: relax.Function) -> None:
        self.function = function
        self.scope = Scope(mod, "LowerQDQ", {}, {})
        self.values: dict[relax.Var, Value] = {param: param for param in function.params}
        self.made: dict[object, relax.Var] = {}
        self.zeros: dict[tuple[relax.Var, int], tuple[relax.Var, tuple[int, ...]]] = {}
        self.bindings: list[relax.VarBinding] = []
        self.shared = shared(function)

    def finish(self) -> tvm.IRModule:
        mod = self.scope.mod
        result = self.function.body.body
        out = relax.Var(result.name if isinstance(result, relax.Var) else "result", result.ty)
        self.bindings.append(relax.VarBinding(out, self.plain(result)))
        functions = dict(mod.functions_items())
        rebuilt = replace_main(mod, self.function, self.bindings, out, functions)
        passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
        return tvm.transform.Sequential(passes)(rebuilt)

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        return bind(self.bindings, name, value)

    def value(self, expr: relax.Expr) -> Value:
        """What is behind an argument: through tuples and their parts."""
        if isinstance(expr, relax.Var):
            return self.values[expr]
        if isinstance(expr, relax.Tuple):
            return [self.value(part) for part in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            whole = self.value(expr.tuple_value)
            return whole[expr.index] if isinstance(whole, list) else relax.TupleGetItem(whole, expr.index)
        return expr

    def plain(self, expr: relax.Expr) -> relax.Expr:
        """The expression as it was, of variables that hold what they held."""
        return substitute(expr, {var: self.held(self.values[var], var) for var in free_vars(expr)})

    def held(self, value: Value, var: relax.Var) -> relax.Expr:
        """What `var` held, computed where it is not there yet."""
        if isinstance(value, list):
            return relax.Tuple([self.held(part, var) for part in value])
        if isinstance(value, relax.Expr):
            return value
        key = (value.codes, value.steps) if isinstance(value, Real) else value
        if key not in self.made:
            self.made[key] = self.compute(value, var.name)
        return self.made[key]

    def compute(self, value: Recoded | Real | Sums | Fixed, name: str) -> relax.Expr:
        if isinstance(value, Fixed):
            return relax.const(value.reals(), "float32")
        if isinstance(value, Real):
            steps = value.steps
            made = relax.op.dequantize(value.codes, relax.const(steps.scale), relax.const(steps.zero, "uint8"), 0)
        elif isinstance(value, Recoded):
            wide = self.emit(relax.op.astype(value.codes, "int16"), f"{name}_int8")
            shift = relax.const(SHIFT["int8"], "int16")
            made = relax.op.astype(self.emit(relax.op.subtract(wide, shift), f"{name}_shifted"), "int8")
        elif value.origin is not None:
            made = self.plain(value.origin.value)
        else:
            made = reals(self.emit, value, name)
        return self.emit(made, name)

    def codes(self, var: relax.Var) -> relax.Var:
        """The integer tensor as uint8."""
        value = self.values[var]
        if isinstance(value, Recoded):
            return value.codes
        held = self.held(value, var)
        if str(var.ty.dtype) == "uint8":
            return held
        if (key := ("uint8", held)) not in self.made:
            wide = self.emit(relax.op.astype(held, "int16"), f"{var.name}_uint8")
            shifted = self.emit(relax.op.add(wide, relax.const(SHIFT["int8"], "int16")), f"{var.name}_shifted")
            self.made[key] = self.emit(relax.op.astype(shifted, "uint8"), f"{var.name}_codes")
        return self.made[key]


def shared(function: relax.Function) -> set[relax.Var]:
    """Variables that are read in more than one way, or by the result: what each of two quantizes reads, say."""
    ways: dict[relax.Var, set[object]] = {var: {None} for var in free_vars(function.body.body)}
    for block in function.body.blocks:
        for binding in block.bindings:
            call = binding.value
            way: object = binding.var
            if operator(call) == "relax.quantize":
                way = (scalar(call.args[1]), scalar(call.args[2]), str(call.attrs.out_dtype))
            for var in free_vars(call):
                ways.setdefault(var, set()).add(way)
    return {var for var, found in ways.items() if len(found) > 1}
