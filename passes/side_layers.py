"""Add layers at the cut: what quantize-cut and pack-cut share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.passes.layering import (
    COMPOSITE,
    LAYER,
    SIDE,
    free_vars,
    global_var,
    identifier,
    layer_calls,
    main_bindings,
    replace_main,
    result_at,
    substitute,
)

Build = Callable[[list[relax.Expr]], relax.Expr]


@dataclass(frozen=True)
class SideLayer:
    """A layer to add. Cloud layers read, in place of each tensor in `replaces`, the tensor that it maps to."""

    name: str
    kind: str
    side: str
    inputs: tuple[str, ...]
    build: Build
    attrs: Mapping[str, object]
    replaces: Mapping[str, str] = field(default_factory=dict)


def side_layer(
    name: str, kind: str, side: str, inputs: Sequence[str], build: Build, attrs: Mapping[str, object],
    replaces: Mapping[str, str] | None = None,
) -> SideLayer:  # fmt: skip
    return SideLayer(identifier(name), kind, side, tuple(inputs), build, attrs, replaces or {})


def taken_names(mod: tvm.IRModule) -> set[str]:
    """Names that a layer to add may not have: those of tensors and of functions."""
    return {tensor.name for tensor in extract.graph(mod).tensors}.union(
        gvar.name_hint for gvar in mod.get_global_vars()
    )


def add_side_layers(mod: tvm.IRModule, added: Sequence[SideLayer]) -> tvm.IRModule:
    """Insert the layers between the edge's and the cloud's; `build` makes each one's result from its inputs.

    A layer whose result is a tuple makes the tensors `name.0`, `name.1`...; main's layers keep their order otherwise.
    The network's result reads the originals, or what replaces them when it is wanted at the cloud.
    """
    main, bindings = main_bindings(mod)
    callees = {binding.var: callee for binding, callee in layer_calls(mod)}
    functions = dict(mod.functions_items())
    names = extract.tensor_names(mod)
    values: dict[str, relax.Expr] = {param.name: param for param in main.params}
    edge, cloud = [], []
    edge_vars = set(main.params)
    for binding in bindings:
        callee = callees.get(binding.var)
        on_edge = (
            str(callee.attrs[SIDE]) == "edge"
            if callee is not None
            else all(v in edge_vars for v in relax.analysis.free_vars(binding.value))
        )
        if on_edge:
            edge.append(binding)
            edge_vars.add(binding.var)
            if not isinstance(binding.var.ty, relax.TupleType):
                values[names[binding.var][0]] = binding.var
            else:
                values.update(
                    (n, relax.TupleGetItem(binding.var, i)) for i, n in enumerate(names[binding.var]) if n not in values
                )
        else:
            cloud.append(binding)
    middle: list[relax.VarBinding] = []
    for layer in added:
        arguments = [values[name] for name in layer.inputs]
        call = _call(layer, arguments, functions, middle)
        values[layer.name] = call
        if isinstance(call.ty, relax.TupleType):
            for i, ty in enumerate(call.ty.fields):
                part = relax.DataflowVar(f"{layer.name}_{i}", ty)
                middle.append(relax.VarBinding(part, relax.TupleGetItem(call, i)))
                values[f"{layer.name}.{i}"] = part
    swap = {old: values[new] for layer in added for old, new in layer.replaces.items()}
    replace: dict[relax.Var, relax.Expr] = {
        var: swap[found[0]]
        for var, found in names.items()
        if not isinstance(var.ty, relax.TupleType) and found[0] in swap
    }
    replace.update(
        # A whole tuple from the edge is put together from its parts, swapped or not.
        (var, relax.Tuple([swap.get(name, values[name]) for name in names[var]]))
        for var in edge_vars
        if isinstance(var.ty, relax.TupleType) and any(name in swap for name in names[var])
    )
    result = main.body.body
    if result_at(mod) == "cloud":
        shown: set[relax.Var] = set()
        if any(var in replace for var in free_vars(result)):
            out = relax.Var("result", result.ty)
            cloud.append(relax.VarBinding(out, result))
            result = out
    else:
        shown = _shown(main, bindings, callees)
    rest = [b if b.var in shown else relax.VarBinding(b.var, substitute(b.value, replace)) for b in cloud]
    return replace_main(mod, main, [*edge, *middle, *rest], result, functions)


def _shown(
    main: relax.Function, bindings: Sequence[relax.VarBinding], callees: Mapping[relax.Var, relax.Function]
) -> set[relax.Var]:
    """Variables that only hand tensors to the network's result, which keeps reading the originals."""
    shown = set(free_vars(main.body.body))
    for binding in reversed(bindings):
        if binding.var in shown and binding.var not in callees:
            shown.update(free_vars(binding.value))
    return shown - set(callees)


def _call(
    layer: SideLayer, arguments: list[relax.Expr], functions: dict[relax.GlobalVar, object],
    middle: list[relax.VarBinding],
) -> relax.Var:  # fmt: skip
    types = [argument.ty for argument in arguments]
    params = [relax.Var(f"x{i}", ty) for i, ty in enumerate(types)]
    builder = relax.BlockBuilder()
    with builder.function(layer.name, params, private=True):
        with builder.dataflow():
            out = builder.emit_output(layer.build(list(params)))
        builder.emit_func_output(out)
    built = builder.get()
    function = built[layer.name]
    functions.update((gvar, f) for gvar, f in built.functions_items() if not isinstance(f, relax.Function))
    attrs = {COMPOSITE: f"tvm_split.{layer.kind}", LAYER: layer.name, SIDE: layer.side, **layer.attrs}
    function = function.without_attr("global_symbol") if "global_symbol" in (function.attrs or {}) else function
    function = function.with_attrs(attrs)
    gvar = global_var(layer.name, function)
    functions[gvar] = function
    var = relax.DataflowVar(layer.name, function.ret_ty)
    middle.append(relax.VarBinding(var, relax.Call(gvar, arguments)))
    return var
