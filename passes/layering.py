"""What the layer passes share: the bindings of `main`, and moving groups of them into composite functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_split.errors import ModelError

#: attributes of a layer's function
COMPOSITE, LAYER, SIDE = "Composite", "tvm_split.layer", "tvm_split.side"
#: likewise, of a convolution that pays by Winograd's algorithm: whether it is to be computed so
WINOGRAD = "tvm_split.winograd"

#: attribute of `main`: "cloud" where the network's outputs are wanted; absent when that is the edge
RESULT_AT = "tvm_split.result_at"

#: attribute of `main`: what the model calls its outputs, in order, as a frontend wrote it
OUTPUT_NAMES = "tvm_split.output_names"
#: likewise its inputs
INPUT_NAMES = "tvm_split.input_names"


@dataclass(frozen=True)
class Group:
    """Bindings that become one layer, in order; only the last one's variable is read outside."""

    name: str
    kind: str
    bindings: tuple[relax.VarBinding, ...]

    @property
    def result(self) -> relax.Var:
        return self.bindings[-1].var


def main_bindings(mod: tvm.IRModule) -> tuple[relax.Function, list[relax.VarBinding]]:
    """`main` in canonical form and its bindings. ModelError when it is missing or has control flow."""
    if "main" not in {gvar.name_hint for gvar in mod.get_global_vars()}:
        raise ModelError("the module has no function 'main'; tvm_split.load() gives one that has")
    bindings: list[relax.VarBinding] = []
    for block in mod["main"].body.blocks:
        for binding in block.bindings:
            if not isinstance(binding, relax.VarBinding) or isinstance(binding.value, relax.If):
                raise ModelError(
                    f"'{binding.var.name}' in 'main' is no plain binding; remove control flow and match_cast"
                )
            bindings.append(binding)
    return mod["main"], bindings


def canonical(mod: tvm.IRModule) -> tvm.IRModule:
    """One dataflow block, no aliases, nothing unread."""
    passes = [relax.transform.ConvertToDataflow(min_size=1), relax.transform.CanonicalizeBindings(),
              relax.transform.DeadCodeElimination(["main"])]  # fmt: skip
    return tvm.transform.Sequential(passes)(mod)


def is_constant(expr: relax.Expr) -> bool:
    """Whether the expression is a tensor literal; its array is `expr.value.numpy()`."""
    return isinstance(expr, tvm.ir.GenericConst) and isinstance(expr.ty, relax.TensorType)


def free_vars(expr: relax.Expr) -> list[relax.Var]:
    """Variables that the expression reads, in order, each once."""
    return list(dict.fromkeys(relax.analysis.free_vars(expr)))


def identifier(text: str) -> str:
    """A name that TVM, a linker and a shell glob all take."""
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "layer"


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name_2`, `name_3`...; adds the answer to `taken`."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def substitute(expr: relax.Expr, replace: Mapping[relax.Var, relax.Expr]) -> relax.Expr:
    return _Substitute(replace).visit_expr(expr)


@relax.expr_functor.mutator
class _Substitute(relax.PyExprMutator):
    def __init__(self, replace: Mapping[relax.Var, relax.Expr]) -> None:
        super().__init__()
        self.replace = replace

    def visit_var_(self, op: relax.Var) -> relax.Expr:
        return self.replace.get(op, op)

    def visit_dataflow_var_(self, op: relax.DataflowVar) -> relax.Expr:
        return self.replace.get(op, op)


def function_of(
    params: Sequence[relax.Var], bindings: Sequence[relax.VarBinding], attrs: Mapping[str, object]
) -> relax.Function:
    """A private pure function that returns the last binding's value. Its variables are new: functions share none."""
    fresh: dict[relax.Var, relax.Expr] = {p: relax.Var(p.name, p.ty) for p in params}
    copied = []
    for binding in bindings[:-1]:
        value = substitute(binding.value, fresh)
        var = relax.DataflowVar(binding.var.name, binding.var.ty)
        fresh[binding.var] = var
        copied.append(relax.VarBinding(var, value))
    result = bindings[-1]
    out = relax.Var("out", result.var.ty)
    copied.append(relax.VarBinding(out, substitute(result.value, fresh)))
    body = relax.SeqExpr([relax.DataflowBlock(copied)], out)
    function = relax.Function([fresh[p] for p in params], body, out.ty, is_pure=True)
    return function.with_attrs(dict(attrs)) if attrs else function


def global_var(name: str, function: relax.Function) -> relax.GlobalVar:
    """A variable of the function's type. TVM offers no public constructor that takes the type."""
    gvar = relax.GlobalVar(name)
    relax.expr._update_type(gvar, relax.FuncType([p.ty for p in function.params], function.ret_ty))
    return gvar


def outline(mod: tvm.IRModule, groups: Sequence[Group]) -> tvm.IRModule:
    """Move each group of `main`'s bindings to a composite function and call it where the group's last binding stood."""
    function, bindings = main_bindings(mod)
    by_result = {group.result: group for group in groups}
    member = {binding.var for group in groups for binding in group.bindings}
    taken = {gvar.name_hint for gvar in mod.get_global_vars()}
    taken.update(param.name for param in function.params)
    functions = dict(mod.functions_items())
    rebuilt: list[relax.VarBinding] = []
    for binding in bindings:
        group = by_result.get(binding.var)
        if group is None:
            if binding.var not in member:
                rebuilt.append(binding)
            continue
        inner = {item.var for item in group.bindings}
        params = list(dict.fromkeys(v for item in group.bindings for v in free_vars(item.value) if v not in inner))
        name = unique(identifier(group.name), taken)
        attrs = {COMPOSITE: f"tvm_split.{group.kind}", LAYER: name}
        callee = function_of(params, group.bindings, attrs)
        gvar = global_var(name, callee)
        functions[gvar] = callee
        rebuilt.append(relax.VarBinding(binding.var, relax.Call(gvar, params)))
    return replace_main(mod, function, rebuilt, function.body.body, functions)


def replace_main(
    mod: tvm.IRModule, main: relax.Function, bindings: Sequence[relax.VarBinding], result: relax.Expr,
    functions: Mapping[relax.GlobalVar, object],
) -> tvm.IRModule:  # fmt: skip
    body = relax.SeqExpr([relax.DataflowBlock(list(bindings))], result)
    rebuilt = relax.Function(main.params, body, result.ty, is_pure=True, attrs=main.attrs)
    out = tvm.IRModule({gvar: f for gvar, f in functions.items() if gvar.name_hint != "main"}, attrs=mod.attrs)
    out[mod.get_global_var("main")] = rebuilt
    return relax.transform.Normalize()(out)


def layer_calls(mod: tvm.IRModule) -> list[tuple[relax.VarBinding, relax.Function]]:
    """The calls of composite functions in `main`, with the function of each."""
    _, bindings = main_bindings(mod)
    found = []
    for binding in bindings:
        if isinstance(binding.value, relax.Call) and isinstance(binding.value.op, relax.GlobalVar):
            callee = mod[binding.value.op]
            if isinstance(callee, relax.Function) and callee.attrs and LAYER in callee.attrs:
                found.append((binding, callee))
    return found


def result_at(mod: tvm.IRModule) -> str:
    """Where the network's outputs are wanted, "edge" or "cloud", as assign-cut wrote it."""
    return str((mod["main"].attrs or {}).get(RESULT_AT, "edge"))
