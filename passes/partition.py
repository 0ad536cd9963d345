"""Take one side's layers out of a module.

    Given:   main(x): a (edge) -> b (edge) -> c (cloud)
    Result:  Partition("edge"):   main(x) = (b,)        Partition("cloud"):  main(b) = c

The edge's result is a tuple: first every crossing tensor in the graph's order, then the network outputs that the edge
makes. The cloud's parameters are the crossing tensors in the same order; its result is the tuple of the network outputs
that the cloud makes. Where assign-cut wants the result at the cloud, outputs made on the edge (or given to the network)
cross too: the edge returns crossing tensors alone, and the cloud all network outputs, in order, some passed through.
Each half holds only its own layers' functions and weights. Nothing is computed differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.errors import GraphError
from tvm_split.passes.layering import LAYER, SIDE, layer_calls, result_at


def sides(mod: tvm.IRModule) -> dict[str, str]:
    """Side of every layer; GraphError when a layer has none (the pass assign-cut gives it)."""
    found = {}
    for _, callee in layer_calls(mod):
        name = str(callee.attrs[LAYER])
        if SIDE not in callee.attrs:
            raise GraphError(f"layer '{name}' has no attribute {SIDE}; run the pass assign-cut first")
        found[name] = str(callee.attrs[SIDE])
    return found


def side_outputs(mod: tvm.IRModule) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of the crossing tensors, of the outputs that the edge returns and of those that the cloud returns.

    Each output once, in order. The edge returns those it makes and those that are inputs; none with the result at the
    cloud, where they cross instead and the cloud returns every one.
    """
    network = extract.graph(mod)
    edge = frozenset(name for name, side in sides(mod).items() if side == "edge")
    network.check_cut(edge)
    outputs = tuple(dict.fromkeys(network.outputs))
    if result_at(mod) == "cloud":
        return network.crossing(edge, result_at_cloud=True), (), outputs
    at_edge = tuple(n for n in outputs if network.producer[n] is None or network.producer[n] in edge)
    return network.crossing(edge), at_edge, tuple(n for n in outputs if n not in at_edge)


@tvm.transform.module_pass(opt_level=0, name="Partition")
@dataclass
class Partition:
    """Keep the layers of one side ("edge" or "cloud"). Crossing tensors that are network inputs are passed through."""

    side: str

    if TYPE_CHECKING:  # what module_pass makes of the class

        def __call__(self, mod: tvm.IRModule) -> tvm.IRModule: ...

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        if self.side not in ("edge", "cloud"):
            raise GraphError(f"there is no side '{self.side}'; a partition takes 'edge' or 'cloud'")
        crossing, at_edge, at_cloud = side_outputs(mod)
        wanted = (*crossing, *at_edge) if self.side == "edge" else at_cloud
        half = _Half(mod, self.side)
        for name in (param.name for param in mod["main"].params) if self.side == "edge" else crossing:
            half.add_param(name)
        for binding, callee in layer_calls(mod):
            if str(callee.attrs[SIDE]) == self.side:
                half.add_layer(binding)
        return half.finish(dict.fromkeys(wanted))


class _Half:
    """The half being built: `values` maps a tensor's name to the expression that holds it here."""

    def __init__(self, mod: tvm.IRModule, side: str) -> None:
        self.mod, self.side = mod, side
        self.names = extract.tensor_names(mod)
        self.types = extract.tensor_types(self.names)
        self.values: dict[str, relax.Expr] = {}
        self.params: list[relax.Var] = []
        self.bindings: list[relax.VarBinding] = []
        self.functions: dict[relax.GlobalVar, object] = {}

    def add_param(self, name: str) -> None:
        var = relax.Var(name.replace(".", "_"), self.types[name])
        self.params.append(var)
        self.values[name] = var

    def argument(self, arg: relax.Expr) -> relax.Expr:
        """The call's argument in this half; a tuple is put together from its parts."""
        names = extract.resolve(arg, self.names)
        if names is None:
            return arg
        if isinstance(arg.ty, relax.TupleType):
            return relax.Tuple([self.values[name] for name in names])
        return self.values[names[0]]

    def bind(self, name: str, value: relax.Expr, ty: relax.Type) -> relax.Var:
        var = relax.DataflowVar(name, ty)
        self.bindings.append(relax.VarBinding(var, value))
        return var

    def add_layer(self, binding: relax.VarBinding) -> None:
        gvar = binding.value.op
        self.functions[gvar] = self.mod[gvar]
        call = relax.Call(gvar, [self.argument(arg) for arg in binding.value.args])
        var = self.bind(binding.var.name, call, binding.var.ty)
        made = self.names[binding.var]
        if isinstance(binding.var.ty, relax.TupleType):
            for i, name in enumerate(made):
                self.values[name] = self.bind(f"{var.name}_{i}", relax.TupleGetItem(var, i), self.types[name])
        else:
            self.values[made[0]] = var

    def finish(self, outputs: dict[str, None]) -> tvm.IRModule:
        result = relax.Tuple([self.values[name] for name in outputs])
        out = relax.Var("result", relax.TupleType([self.types[name] for name in outputs]))
        self.bindings.append(relax.VarBinding(out, result))
        body = relax.SeqExpr([relax.DataflowBlock(self.bindings)], out)
        main = relax.Function(self.params, body, out.ty, is_pure=True)
        main = main.with_attrs({"global_symbol": "main", "num_input": len(self.params), SIDE: self.side})
        module = tvm.IRModule({**_prim_funcs(self.mod), **self.functions}, attrs=self.mod.attrs)
        module[relax.GlobalVar("main")] = main
        passes = [relax.transform.Normalize(), relax.transform.DeadCodeElimination(["main"])]
        return tvm.transform.Sequential(passes)(module)


def _prim_funcs(mod: tvm.IRModule) -> dict[relax.GlobalVar, object]:
    return {gvar: f for gvar, f in mod.functions_items() if not isinstance(f, relax.Function)}
