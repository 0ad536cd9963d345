"""Each layer of a network lowered alone, by the passes that lower a half: what layers are run and timed by.

A layer is one kernel nearly always, between conversions of its tensors' layout where a half has it in another layout.
One that is not kernels alone (a sort; a reshape, which moves nothing in a half) stays a module of its own, for Relax's
virtual machine. Since a half fuses nothing across layers, these are the very kernels that a half has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import tvm
from tvm import relax

from tvm_split import lower
from tvm_split.errors import BuildError, last_line
from tvm_split.explain import heard, rule_of
from tvm_split.extract import resolve
from tvm_split.passes.layering import LAYER, is_constant, layer_calls
from tvm_split.passes.share_kernels import equal_kernels
from tvm_split.progress import Progress, counted, quiet

#: after this pass every layer that costs something is call_tir
LAST_PASS = "ShareKernels"
MAIN = "main"
CALL_TIR = tvm.ir.Op.get("relax.call_tir")


@dataclass(frozen=True)
class Kernel:
    """One PrimFunc. It takes what `reads` says in order, a weight or the number of a value, then what it writes.

    Values are the layer's arguments, then what each kernel writes, in order. `types` are those of all its arguments,
    read and written. `converts`: it only changes a layout, and is not there in a half that keeps the layout.
    """

    symbol: str
    function: tvm.ir.BaseFunc
    reads: tuple[tvm.runtime.Tensor | int, ...]
    types: tuple[relax.TensorType, ...]
    converts: bool

    @property
    def written(self) -> tuple[relax.TensorType, ...]:
        return self.types[len(self.reads) :]


@dataclass(frozen=True)
class Program:
    """A layer's kernels in order, and the numbers of the values that are its results."""

    kernels: tuple[Kernel, ...]
    results: tuple[int, ...]

    @property
    def kernel(self) -> Kernel:
        """The one that computes the layer; the others convert layouts."""
        return next(kernel for kernel in self.kernels if not kernel.converts)


@dataclass(frozen=True)
class LoweredLayers:
    """Layers by name, in the network's order: those that are kernels, and the others, each the `main` of a module.

    A layer's arguments are the parameters of its call, each part of a tuple by itself. `parts`: the kernels that a
    module will have, in the order of its calls. `reasons`: why passes left operators of a layer as they are; see
    `explain.heard`.
    """

    programs: Mapping[str, Program]
    modules: Mapping[str, tvm.IRModule]
    parts: Mapping[str, tuple[tvm.ir.BaseFunc, ...]]
    reasons: Mapping[str, list[str]]

    def rules(self) -> dict[str, str | None]:
        """The schedule rule of the kernel of each layer that is kernels."""
        return {name: rule_of(program.kernel.function) for name, program in self.programs.items()}

    def library(self) -> tvm.IRModule:
        """All kernels in one module, each under its symbol; equal ones have one symbol."""
        kernels = [kernel for program in self.programs.values() for kernel in program.kernels]
        return tvm.IRModule({kernel.symbol: kernel.function for kernel in kernels})


def lower_layers(
    mod: tvm.IRModule, target: tvm.target.Target, only: Collection[str] | None = None, progress: Progress = quiet
) -> LoweredLayers:
    """Lower every layer of a module of layers, or `only` those. BuildError names the layer that cannot be."""
    programs: dict[str, Program] = {}
    modules: dict[str, tvm.IRModule] = {}
    parts: dict[str, tuple[tvm.ir.BaseFunc, ...]] = {}
    reasons: dict[str, list[str]] = {}
    calls = list(enumerate(layer_calls(mod)))
    for i, (binding, callee) in counted(
        calls, f"lowering layers for {target.attrs.get('mcpu', target.kind.name)}", progress
    ):
        name = str(callee.attrs[LAYER])
        if only is not None and name not in only:
            continue
        alone = _alone(mod, binding.value.op)
        with heard() as reasons[name]:
            lowered = _lowered(alone, target, name)
        program = _program(lowered, f"layer_{i}", str(binding.value.op.name_hint))
        if program is None:
            modules[name], parts[name] = alone, _kernels(lowered)
        else:
            programs[name] = program
    return LoweredLayers(_shared(programs), modules, parts, reasons)


def _shared(programs: Mapping[str, Program]) -> dict[str, Program]:
    """The programs with one symbol for equal kernels, so that each is compiled once."""
    every = {kernel.symbol: kernel for program in programs.values() for kernel in program.kernels}
    first = equal_kernels((symbol, kernel.function) for symbol, kernel in every.items())
    return {
        name: replace(
            program,
            kernels=tuple(
                replace(kernel, symbol=first[kernel.symbol], function=every[first[kernel.symbol]].function)
                for kernel in program.kernels
            ),
        )
        for name, program in programs.items()
    }


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


def _lowered(alone: tvm.IRModule, target: tvm.target.Target, layer: str) -> tvm.IRModule:
    """The layer's module after LAST_PASS. BuildError when TVM cannot lower it."""
    passes = lower.passes(target)
    last = next(i for i, each in enumerate(passes) if str(each.info.name) == LAST_PASS)
    try:
        with target:
            return tvm.transform.Sequential(passes[: last + 1])(alone)
    except tvm.error.InternalError as error:
        raise BuildError(f"layer '{layer}' cannot be lowered to kernels: {last_line(error)}") from error


def _kernels(lowered: tvm.IRModule) -> tuple[tvm.ir.BaseFunc, ...]:
    """What `main` calls that is a kernel, in order."""
    values = [item.value for block in lowered[MAIN].body.blocks for item in block.bindings]
    return tuple(lowered[value.args[0]] for value in values if isinstance(value, relax.Call) and value.op == CALL_TIR)


def _program(lowered: tvm.IRModule, symbol: str, function: str) -> Program | None:
    """The lowered module's kernels, named after `symbol`; None when `main` is anything but kernels.

    `function` is the layer's in the module: what has another name only converts layouts.
    """
    main = lowered[MAIN]
    values: dict[relax.Var, tuple[int, ...]] = {param: (i,) for i, param in enumerate(main.params)}
    count = len(main.params)
    kernels: list[Kernel] = []
    for binding in (item for block in main.body.blocks for item in block.bindings):
        value = binding.value
        if not isinstance(value, relax.Call):
            found = resolve(value, values)
            if found is None:
                return None
            values[binding.var] = found
            continue
        if value.op != CALL_TIR:
            return None
        reads = [expr.value if is_constant(expr) else _number(expr, values) for expr in value.args[1].fields]
        if any(read is None for read in reads):
            return None
        made = value.ty_args[0]
        written = list(made.fields) if isinstance(made, relax.TupleType) else [made]
        name = f"{symbol}_{len(kernels)}"
        types = (*(expr.ty for expr in value.args[1].fields), *written)
        own = str(value.args[0].name_hint) == function
        code = lowered[value.args[0]].with_attr("global_symbol", name)
        kernels.append(Kernel(name, code, tuple(reads), types, not own))
        values[binding.var] = tuple(range(count, count + len(written)))
        count += len(written)
    results = resolve(main.body.body, values)
    if results is None or sum(not kernel.converts for kernel in kernels) != 1:
        return None
    return Program(tuple(kernels), results)


def _number(expr: relax.Expr, values: Mapping[relax.Var, tuple[int, ...]]) -> int | None:
    """The number of the one value behind an expression."""
    found = resolve(expr, values)
    return found[0] if found is not None and len(found) == 1 else None
