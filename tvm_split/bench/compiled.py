"""A network -> a library for this machine, and which kernels its `main` calls for which layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from tvm_split import lower
from tvm_split.bench.engines import MAIN, ArrayType
from tvm_split.bench.result import Convolution
from tvm_split.errors import BuildError, last_line
from tvm_split.linker import find_linker
from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.schedule import RULE
from tvm_split.passes.share_kernels import equal_kernels
from tvm_split.targets import TargetSpec

CONV2D = "relax.nn.conv2d"
RAISED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a layer multiplies. int8: 8-bit integers. convolution: of one that convolves, in two dimensions."""

    int8: bool = False
    convolution: Convolution | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a kernel in `main`. `layer` is None for what lowering put between layers (a change of layout)."""

    symbol: str
    layer: str | None
    types: tuple[ArrayType, ...]
    rule: str | None
    arithmetic: Arithmetic = Arithmetic()

    @property
    def size_bytes(self) -> int:
        """All that the kernel reads and writes, once."""
        return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.types)


def compile_ours(mod: tvm.IRModule, spec: TargetSpec, target: tvm.target.Target, library: Path) -> tuple[Call, ...]:
    """Compile a module of layers by `lower.pipeline` to `library`; the kernels that its `main` calls, in order.

    BuildError when TVM cannot, or no linker is there.
    """
    watch = _Watch()
    layers = {
        str(binding.value.op.name_hint): (str(callee.attrs[LAYER]), arithmetic_of(callee))
        for binding, callee in layer_calls(mod)
    }
    try:
        with tvm.transform.PassContext(instruments=[watch]):
            built = tvm.compile(mod, target, relax_pipeline=lower.pipeline(target))
    except RAISED as error:
        raise BuildError(f"the network cannot be compiled for '{spec.name}': {last_line(error)}") from error
    built.export_library(str(library), fcompile=find_linker(spec.arch))
    return watch.calls(layers)


def arithmetic_of(layer: relax.Function) -> Arithmetic:
    """What a layer's convolution or matmul multiplies: integers after `lower-qdq`, whose sums are int32."""
    for value in (binding.value for block in layer.body.blocks for binding in block.bindings):
        name = operator(value)
        if name.startswith("relax.nn.conv") or name == "relax.matmul":
            return Arithmetic(str(value.ty.dtype) == "int32", _convolution(value) if name == CONV2D else None)
    return Arithmetic()


def _convolution(call: relax.Call) -> Convolution | None:
    """None for weights of another layout than an imported network has."""
    shape = static_shape(call.args[1])
    if shape is None or str(call.attrs.kernel_layout) != "OIHW":
        return None
    channels_out, channels_in, *kernel = shape
    groups = int(call.attrs.groups)
    return Convolution((kernel[0], kernel[1]), channels_in * groups, channels_out, groups)


def compile_default(mod: tvm.IRModule, spec: TargetSpec, target: tvm.target.Target, library: Path) -> None:
    """Compile an imported module by TVM's default pipeline to `library`; BuildError when TVM cannot."""
    try:
        built = tvm.compile(mod, target)
    except RAISED as error:
        raise BuildError(f"TVM's default pipeline cannot compile the network: {last_line(error)}") from error
    built.export_library(str(library), fcompile=find_linker(spec.arch))


def compile_kernels(mod: tvm.IRModule, spec: TargetSpec, target: tvm.target.Target, library: Path) -> None:
    """Compile a module of PrimFuncs to `library`."""
    tvm.compile(mod, target).export_library(str(library), fcompile=find_linker(spec.arch))


SCHEDULE = "ScheduleKernels"


@tvm.instrument.pass_instrument
class _Watch:
    """Sees the network on its way: `main` while it still calls kernels by name, and what rule took each kernel.

    So the kernels timed alone are the very machine code that the whole network runs, from one compilation.
    """

    def __init__(self) -> None:
        self.lowered: tvm.IRModule | None = None
        self.shared: dict[str, str] = {}
        self.rules: dict[str, str] = {}

    def run_after_pass(self, mod: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        if str(info.name) == SCHEDULE:  # each layer still has a kernel of its own name
            self.lowered = mod
            kernels = ((str(g.name_hint), f) for g, f in mod.functions_items() if isinstance(f, tvm.tirx.PrimFunc))
            self.shared = equal_kernels(kernels)
        for gvar, function in mod.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc) and RULE in (function.attrs or {}):
                self.rules[str(gvar.name_hint)] = str(function.attrs[RULE])

    def calls(self, layers: Mapping[str, tuple[str, Arithmetic]]) -> tuple[Call, ...]:
        """The kernels in the order of `main`; `layers`: each layer's function -> its name and arithmetic."""
        if self.lowered is None:
            raise BuildError(f"lowering has no pass '{SCHEDULE}', before which every layer has its kernel")
        found = []
        for block in self.lowered[MAIN].body.blocks:
            for binding in block.bindings:
                value = binding.value
                if isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.call_tir"):
                    name = str(value.args[0].name_hint)
                    types = (*_types(value.args[1]), *_types(binding.var))
                    layer, arithmetic = layers.get(name, (None, Arithmetic()))
                    found.append(Call(self.shared[name], layer, types, self.rules.get(name), arithmetic))
        return tuple(found)


def _types(expr: relax.Expr) -> tuple[ArrayType, ...]:
    types = expr.ty.fields if isinstance(expr.ty, relax.TupleType) else [expr.ty]
    return tuple((tuple(int(extent) for extent in ty.shape.values), str(ty.dtype)) for ty in types)
