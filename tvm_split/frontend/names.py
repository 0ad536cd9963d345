"""Carry the model's own node names into the names of Relax variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tvm
from tvm import relax

from tvm_split.input_names import identifier


class Names:
    """Give out distinct identifiers: letters, digits and '_', as TVMScript prints and reads them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._kept: set[str] = set()

    def keep(self, names: Iterable[str]) -> None:
        """Let those of the names that are identifiers be given out to none but who wants just these."""
        self._kept |= {name for name in names if identifier(name) == name}

    def fresh(self, wanted: str) -> str:
        """Return `wanted` as an identifier that has not been given out; a clash gets '_1', '_2', ..."""
        base = identifier(wanted)
        name, count = base, 0
        while name in self._taken or (name in self._kept and name != wanted):
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def rename(mod: tvm.IRModule, results: Mapping[relax.Var, str]) -> tvm.IRModule:
    """Name the variables of `main` after the model's nodes; `results` says which variable holds which node's result.

    Given:   lv = conv2d(x, w);  lv1 = add(lv, b);  lv2 = relu(lv1)      results: lv1 'stem', lv2 'act'
    Result:  stem_conv2d = conv2d(x, w);  stem = add(stem_conv2d, b);  act = relu(stem)

    A variable that `results` leaves out takes the name of the next that it has, plus its operator's: an importer emits
    the parts of a node just before the node's result. All names become distinct identifiers. Values, order and types
    stay; in the block's last copy, 'gv = lv2', 'gv' takes the node's name, since it is the one that outlives copies.
    """
    main = mod["main"]
    return _Renamer(mod, _wanted(main, results)).run(main)


def _wanted(main: relax.Function, results: Mapping[relax.Var, str]) -> dict[relax.Var, str]:
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    names = {parameter: parameter.name for parameter in main.params}
    following = "result"
    for binding in reversed(bindings):
        value = binding.value
        if binding.var in results:
            following = names[binding.var] = results[binding.var]
        elif isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op):
            names[binding.var] = f"{following}_{value.op.name.rsplit('.', 1)[-1]}"
        else:
            names[binding.var] = following
    for binding in bindings:  # forwards: a part of a tuple, or a copy, is named after what it reads
        value = binding.value
        if binding.var in results:
            continue
        if isinstance(value, relax.TupleGetItem) and value.tuple_value in names:
            names[binding.var] = f"{names[value.tuple_value]}_{value.index}"
        elif isinstance(value, relax.Var) and value in results:
            names[binding.var], names[value] = names[value], f"{names[value]}_value"
    supply = Names()
    given = {parameter: supply.fresh(names[parameter]) for parameter in main.params}
    # A node's own name goes to its result before any part of another node can take it.
    for binding in sorted(bindings, key=lambda binding: binding.var not in results):
        given[binding.var] = supply.fresh(names[binding.var])
    return given


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
