"""Carry the model's own node names into the names of Relax variables."""

from __future__ import annotations

import re

import tvm
from tvm import relax


class Names:
    """Give out distinct identifiers: letters, digits and '_', as TVMScript prints and reads them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def fresh(self, wanted: str) -> str:
        """Return `wanted` as an identifier that has not been given out; a clash gets '_1', '_2', ..."""
        base = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "unnamed"
        if base[0].isdigit():
            base = f"n{base}"
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


MADE_UP = re.compile(r"(lv|gv)\d*")


def rename(mod: tvm.IRModule) -> tvm.IRModule:
    """Name the variables of `main` that the importer left as 'lv3', and make all names distinct identifiers.

    Given:   lv = conv2d(x, w);  stem = add(lv, b);  lv1 = stem[0]      ('stem' is the model's node)
    Result:  stem_conv2d = conv2d(x, w);  stem = add(stem_conv2d, b);  stem_0 = stem[0]

    A made-up name becomes that of the next named variable plus the operator's: an importer emits the parts of a node
    just before the node's result. Values, order and types stay; a plain copy 'gv = stem' of the last block stays too.
    """
    main = mod["main"]
    return _Renamer(mod, _wanted(main)).run(main)


def _wanted(main: relax.Function) -> dict[relax.Var, str]:
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    names = {parameter: parameter.name for parameter in main.params}
    following = "result"
    for binding in reversed(bindings):
        value, name = binding.value, binding.var.name
        if not MADE_UP.fullmatch(name):
            following = names[binding.var] = name
        elif isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op):
            names[binding.var] = f"{following}_{value.op.name.rsplit('.', 1)[-1]}"
        else:
            names[binding.var] = following
    for binding in bindings:  # forwards: the parts of a tuple take the tuple's final name
        value = binding.value
        if MADE_UP.fullmatch(binding.var.name) and isinstance(value, relax.TupleGetItem) and value.tuple_value in names:
            names[binding.var] = f"{names[value.tuple_value]}_{value.index}"
        elif MADE_UP.fullmatch(binding.var.name) and isinstance(value, relax.Var):
            names[binding.var] = f"{names[value]}_out"
    supply = Names()
    distinct = {parameter: supply.fresh(names[parameter]) for parameter in main.params}
    # A node's own name goes to its result before any made-up part can take it.
    ordered = sorted(bindings, key=lambda binding: bool(MADE_UP.fullmatch(binding.var.name)))
    return distinct | {binding.var: supply.fresh(names[binding.var]) for binding in ordered}


@relax.expr_functor.mutator
class _Renamer(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule, names: dict[relax.Var, str]) -> None:
        super().__init__(mod)
        self.names = names

    def run(self, main: relax.Function) -> tvm.IRModule:
        parameters = [relax.Var(self.names[old], old.ty) for old in main.params]
        for old, new in zip(main.params, parameters, strict=True):
            self.set_var_remap(old, new)
        body = self.visit_expr(main.body)
        module = self.builder_.get()
        module["main"] = relax.Function(parameters, body, main.ret_ty, main.is_pure, main.attrs, main.span)
        return module

    def visit_var_def_(self, var: relax.Var) -> relax.Var:
        new = relax.Var(self.names.get(var, var.name), var.ty)
        self.set_var_remap(var, new)
        return new

    def visit_dataflow_var_def_(self, var: relax.DataflowVar) -> relax.DataflowVar:
        new = relax.DataflowVar(self.names.get(var, var.name), var.ty)
        self.set_var_remap(var, new)
        return new
