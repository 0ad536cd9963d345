"""The kernels of a network that may be tuned: as they are just before they are scheduled, equal ones once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax, tirx

from tvm_split import lower
from tvm_split.errors import BuildError, last_line
from tvm_split.passes.layering import LAYER, is_constant, layer_calls
from tvm_split.tune.apply import kernel_key

MAIN = "main"
#: the pass before which kernels have no schedule
NEXT_PASS = "ApplyTuned"
#: shape and dtype
ArrayType = tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class Kernel:
    """reads: its arguments in order, a weight as it is, or the type of a tensor. writes: types of its results."""

    key: str
    function: tirx.PrimFunc
    layers: tuple[str, ...]
    reads: tuple[np.ndarray | ArrayType, ...]
    writes: tuple[ArrayType, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        more = f" and {len(self.layers) - 1} like it" if len(self.layers) > 1 else ""
        return f"{self.layers[0]}{more}"


def kernels_of(mod: tvm.IRModule, target: tvm.target.Target) -> list[Kernel]:
    """The distinct kernels of a module of layers, in the network's order. BuildError when TVM cannot lower it."""
    names = {str(binding.value.op.name_hint): str(callee.attrs[LAYER]) for binding, callee in layer_calls(mod)}
    passes = lower.passes(target)
    count = next(i for i, each in enumerate(passes) if str(each.info.name) == NEXT_PASS)
    try:
        with target:
            lowered = tvm.transform.Sequential(passes[:count])(mod)
    except tvm.error.InternalError as error:
        raise BuildError(f"the network cannot be lowered to kernels: {last_line(error)}") from error
    found: dict[str, Kernel] = {}
    for binding in (item for block in lowered[MAIN].body.blocks for item in block.bindings):
        call = binding.value
        if not isinstance(call, relax.Call) or call.op != tvm.ir.Op.get("relax.call_tir"):
            continue
        layer = names.get(str(call.args[0].name_hint))
        made = call.ty_args[0]
        written = list(made.fields) if isinstance(made, relax.TupleType) else [made]
        if layer is None or not isinstance(call.args[1], relax.Tuple):
            continue  # a change of layout between layers
        kernel = _kernel(lowered[call.args[0]], layer, list(call.args[1].fields), written)
        if kernel.key in found:
            kernel = replace(found[kernel.key], layers=(*found[kernel.key].layers, layer))
        found[kernel.key] = kernel
    return list(found.values())


def _kernel(
    function: tirx.PrimFunc, layer: str, arguments: list[relax.Expr], written: list[relax.TensorType]
) -> Kernel:
    reads = tuple(argument.value.numpy() if is_constant(argument) else _type(argument.ty) for argument in arguments)
    return Kernel(kernel_key(function), function, (layer,), reads, tuple(map(_type, written)))


def _type(ty: relax.TensorType) -> ArrayType:
    return tuple(int(extent) for extent in ty.shape.values), str(ty.dtype)
