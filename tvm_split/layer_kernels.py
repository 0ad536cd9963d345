"""Each layer of a network lowered alone, by the passes that lower a half: what layers are run and timed by.

A layer is one kernel nearly always. One that is not (a sort; a reshape, which moves nothing in a half) stays a module
of its own, for Relax's virtual machine. Since a half fuses nothing across layers, these are the very kernels that a
half has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_split import lower
from tvm_split.errors import BuildError, last_line
from tvm_split.passes.layering import LAYER, is_constant, layer_calls

#: after this pass every layer that costs something is call_tir
LAST_PASS = "RewriteDataflowReshape"
MAIN = "main"


@dataclass(frozen=True)
class Kernel:
    """One PrimFunc. It takes what `reads` says in order (a weight, or the number of the layer's argument), then what
    it writes; `types` are those of all its arguments, read and written."""

    symbol: str
    function: tvm.ir.BaseFunc
    reads: tuple[tvm.runtime.Tensor | int, ...]
    types: tuple[relax.TensorType, ...]


@dataclass(frozen=True)
class LoweredLayers:
    """Layers by name, in the network's order: those that are one kernel, and the others, each the `main` of a module.

    A layer's arguments are the parameters of its call, each part of a tuple by itself.
    """

    kernels: Mapping[str, Kernel]
    modules: Mapping[str, tvm.IRModule]

    def library(self) -> tvm.IRModule:
        """All kernels in one module, each under its symbol."""
        return tvm.IRModule({kernel.symbol: kernel.function for kernel in self.kernels.values()})


def lower_layers(mod: tvm.IRModule, target: tvm.target.Target) -> LoweredLayers:
    """Lower every layer of a module of layers. BuildError names the layer that cannot be."""
    kernels: dict[str, Kernel] = {}
    modules: dict[str, tvm.IRModule] = {}
    for i, (binding, callee) in enumerate(layer_calls(mod)):
        name = str(callee.attrs[LAYER])
        alone = _alone(mod, binding.value.op)
        kernel = _kernel(alone, target, f"layer_{i}", name)
        if kernel is None:
            modules[name] = alone
        else:
            kernels[name] = kernel
    return LoweredLayers(kernels, modules)


def _alone(mod: tvm.IRModule, layer: tvm.ir.GlobalVar) -> tvm.IRModule:
    """A module whose `main` calls this layer and nothing else; the parts of a tuple are parameters of their own."""
    callee = mod[layer]
    params: list[relax.Var] = []
    arguments: list[relax.Expr] = []
    for param in callee.params:
        is_tuple = isinstance(param.ty, relax.TupleType)
        fields = param.ty.fields if is_tuple else [param.ty]
        made = [relax.Var(f"x{len(params) + i}", ty) for i, ty in enumerate(fields)]
        params += made
        arguments.append(relax.Tuple(made) if is_tuple else made[0])
    made_here = relax.DataflowVar("made", callee.ret_ty)
    # a tuple, as halves return: a reshape becomes a view only where its result is not the function's own
    out = relax.Var("out", relax.TupleType([callee.ret_ty]))
    block = relax.DataflowBlock(
        [relax.VarBinding(made_here, relax.Call(layer, arguments)), relax.VarBinding(out, relax.Tuple([made_here]))]
    )
    main = relax.Function(params, relax.SeqExpr([block], out), out.ty, is_pure=True)
    functions = {gvar: f for gvar, f in mod.functions_items() if not isinstance(f, relax.Function)}
    alone = tvm.IRModule({**functions, layer: callee})
    alone[relax.GlobalVar(MAIN)] = main.with_attrs({"global_symbol": MAIN, "num_input": len(params)})
    passes = [relax.transform.Normalize(), relax.transform.DeadCodeElimination([MAIN])]
    return tvm.transform.Sequential(passes)(alone)


def _kernel(alone: tvm.IRModule, target: tvm.target.Target, symbol: str, layer: str) -> Kernel | None:
    """The one kernel of the module, named `symbol`; None when `main` is anything but one kernel."""
    passes = lower.passes(target)
    last = next(i for i, each in enumerate(passes) if str(each.info.name) == LAST_PASS)
    try:
        with target:
            lowered = tvm.transform.Sequential(passes[: last + 1])(alone)
    except tvm.error.InternalError as error:
        raise BuildError(f"layer '{layer}' cannot be lowered to kernels: {last_line(error)}") from error
    main = lowered[MAIN]
    values = [binding.value for block in main.body.blocks for binding in block.bindings]
    calls = [value for value in values if not isinstance(value, relax.Var | relax.Tuple | relax.TupleGetItem)]
    if len(calls) != 1 or not isinstance(calls[0], relax.Call) or calls[0].op != tvm.ir.Op.get("relax.call_tir"):
        return None
    call = calls[0]
    numbers = {param: i for i, param in enumerate(main.params)}
    read = list(call.args[1].fields)
    if not all(is_constant(expr) or expr in numbers for expr in read):
        return None
    made = call.ty_args[0]
    written = list(made.fields) if isinstance(made, relax.TupleType) else [made]
    reads = tuple(expr.value if is_constant(expr) else numbers[expr] for expr in read)
    function = lowered[call.args[0]].with_attr("global_symbol", symbol)
    return Kernel(symbol, function, reads, (*(expr.ty for expr in read), *written))
