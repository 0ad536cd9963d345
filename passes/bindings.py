"""What the rewriting passes share: walk the bindings of every Relax function, replace some values, keep the names.

No pass by itself. `rewrite(mod, "Name", visit)` calls `visit(scope, binding)` for each binding in order; it returns
the value that the variable is bound to from now on, or None to leave it. Helper bindings go before it by
`scope.emit`. The variable itself stays, so names (which layers are called by) survive; a replacement of another
type is refused. What nobody reads any more is removed at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

log = logging.getLogger("tvm_split.passes")


@dataclass
class Scope:
    """One function while it is rewritten. `values` and `bindings` hold what was rewritten so far.

    `readers` and `original` tell of the function before: who reads a variable (None: the result), its value.
    """

    mod: tvm.IRModule
    pass_name: str
    readers: dict[relax.Var, list[relax.Var | None]]
    original: dict[relax.Var, relax.Expr]
    values: dict[relax.Var, relax.Expr] = field(default_factory=dict)
    bindings: list[relax.Binding] = field(default_factory=list)
    dataflow: bool = True
    said: set[str] = field(default_factory=set)

    def value(self, expr: relax.Expr) -> relax.Expr:
        """What a variable is bound to, through aliases; the expression itself where nothing is bound."""
        while isinstance(expr, relax.Var) and expr in self.values:
            expr = self.values[expr]
        return expr

    def was(self, var: relax.Expr) -> relax.Expr:
        """What the variable was bound to before the pass; None where nothing was bound."""
        return self.original.get(var)

    def call(self, expr: relax.Expr, *operators: str) -> relax.Call | None:
        """The call to one of the operators that `expr` is, or is bound to."""
        value = self.value(expr)
        return value if operator(value) in operators else None

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        """Bind a new variable before the binding that is being visited."""
        value = relax.BlockBuilder().normalize(value)
        var = (relax.DataflowVar if self.dataflow else relax.Var)(name, value.ty)
        self.keep(relax.VarBinding(var, value))
        return var

    def keep(self, binding: relax.Binding) -> None:
        self.bindings.append(binding)
        if isinstance(binding, relax.VarBinding):
            self.values[binding.var] = binding.value

    def skip(self, var: relax.Var, reason: str) -> None:
        """Say why a binding that looked right was left alone."""
        line = f"{self.pass_name}: '{var.name}' stays: {reason}"
        if line not in self.said:
            log.info(line)
        self.said.add(line)


Visit = Callable[[Scope, relax.VarBinding], relax.Expr | None]


def operator(value: relax.Expr) -> str:
    """The operator's full name, such as relax.nn.conv2d; empty for anything but a call to an operator."""
    return str(value.op.name) if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op) else ""


def maker(call: relax.Call) -> Callable[..., relax.Expr]:
    """The function that builds calls of the same operator."""
    found: Any = relax.op
    for word in operator(call).split(".")[1:]:
        found = getattr(found, word)
    make: Callable[..., relax.Expr] = found
    return make


def constant(expr: relax.Expr) -> np.ndarray | None:
    """The array of a constant tensor."""
    return expr.value.numpy() if isinstance(expr, tvm.ir.GenericConst) else None


def scalar(expr: relax.Expr) -> float | int | None:
    """The number that a one-element constant, or a number among an operator's arguments, holds."""
    if isinstance(expr, tvm.tirx.IntImm | tvm.tirx.FloatImm):
        immediate: float | int = expr.value
        return immediate
    if not isinstance(expr, tvm.ir.GenericConst) or any(dim != 1 for dim in expr.value.shape):
        return None
    number: float | int = expr.value.numpy().reshape(()).item()
    return number


def static_shape(expr: relax.Expr) -> tuple[int, ...] | None:
    """The shape of a tensor, None where it is not known or symbolic."""
    shape = getattr(expr.ty, "shape", None)
    if not isinstance(shape, relax.ShapeExpr) or not all(isinstance(dim, tvm.tirx.IntImm) for dim in shape.values):
        return None
    return tuple(int(dim) for dim in shape.values)


def same_type(a: relax.Expr, b: relax.Expr) -> bool:
    return bool(tvm_ffi.structural_equal(a.ty, b.ty))


def bind(bindings: list[relax.VarBinding], name: str, value: relax.Expr) -> relax.Var:
    """A new variable with that value; its binding goes to the end of `bindings`."""
    value = relax.BlockBuilder().normalize(value)
    var = relax.DataflowVar(name, value.ty)
    bindings.append(relax.VarBinding(var, value))
    return var


def is_te(scope: Scope, call: relax.Call, compute: Callable[..., tvm.te.Tensor], *args: object) -> bool:
    """Whether a call_tir does exactly what `compute(*args)` from TOPI does. Decides by structure, not by name."""
    builder = relax.BlockBuilder()
    expected = builder.call_te(compute, *args)
    function, wanted = scope.mod[call.args[0]], builder.get()[expected.args[0]]
    if "global_symbol" in (function.attrs or {}):
        function = function.without_attr("global_symbol")
    return bool(tvm_ffi.structural_equal(function, wanted, map_free_vars=True))


def rewrite(mod: tvm.IRModule, pass_name: str, visit: Visit, looked_for: str) -> tvm.IRModule:
    """The module with each visited binding replaced; `mod` itself, and a line in the log, where there is none."""
    work = relax.transform.CanonicalizeBindings()(mod)
    changed = {}
    for gvar, function in work.functions_items():
        if isinstance(function, relax.Function) and not (function.attrs or {}).get("Primitive"):
            rewritten = _rewrite_function(work, function, pass_name, visit)
            if rewritten is not None:
                changed[gvar] = rewritten
    if not changed:
        names = ", ".join(sorted(g.name_hint for g, f in work.functions_items() if isinstance(f, relax.Function)))
        log.info("%s: nothing to do: no %s in %s", pass_name, looked_for, names or "a module without Relax functions")
        return mod
    result = work.clone()
    for gvar, function in changed.items():
        result.update_func(gvar, function)
    return relax.transform.DeadCodeElimination()(relax.transform.CanonicalizeBindings()(result))


def _rewrite_function(mod: tvm.IRModule, function: relax.Function, name: str, visit: Visit) -> relax.Function | None:
    function = relax.analysis.remove_all_unused(function)
    plain = [b for block in function.body.blocks for b in block.bindings if isinstance(b, relax.VarBinding)]
    scope = Scope(mod, name, _readers(function), {binding.var: binding.value for binding in plain})
    blocks, changed = [], False
    for block in function.body.blocks:
        scope.bindings, scope.dataflow = [], isinstance(block, relax.DataflowBlock)
        for binding in block.bindings:
            value = visit(scope, binding) if isinstance(binding, relax.VarBinding) else None
            if value is not None:
                value = relax.BlockBuilder().normalize(value)
                if same_type(value, binding.var):
                    binding, changed = relax.VarBinding(binding.var, value), True
                else:
                    scope.skip(binding.var, f"the replacement has type {value.ty}, expected {binding.var.ty}")
            scope.keep(binding)
        blocks.append(type(block)(scope.bindings))
    if not changed:
        return None
    body = relax.BlockBuilder().normalize(relax.SeqExpr(blocks, function.body.body))
    return relax.Function(function.params, body, function.ret_ty, function.is_pure, function.attrs)


def _readers(function: relax.Function) -> dict[relax.Var, list[relax.Var | None]]:
    readers: dict[relax.Var, list[relax.Var | None]] = {}
    for block in function.body.blocks:
        for binding in block.bindings:
            for var in relax.analysis.free_vars(binding.value):
                readers.setdefault(var, []).append(binding.var)
    for var in relax.analysis.free_vars(function.body.body):
        readers.setdefault(var, []).append(None)
    return readers
