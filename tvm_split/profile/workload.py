"""A network's layers as things to time: each distinct kernel once, described, on floats or on integers.

Where the kernels are to be on integers, the whole network is brought to 8 bits with quantisers that are made up: how
fine a quantiser is changes no loop and no byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from tvm_split import explain, pipeline
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.graph import Graph
from tvm_split.layer_kernels import Kernel, LoweredLayers, lower_layers
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.profile.features import Described, describe
from tvm_split.profile.kernel_set import kernel_set
from tvm_split.quantizer import Quantizer
from tvm_split.targets import TargetSpec
from tvm_split.versions import versions


@dataclass(frozen=True)
class Workload:
    """Layers of one network, lowered for one target. `described` has every layer; equal kernels have one `key`.

    keys: layer -> what tells its kernel, or its module, from every other, for as long as TVM's structural hash does.
    """

    network: str
    lowered: LoweredLayers
    described: Mapping[str, Described]
    keys: Mapping[str, str]

    def kernel(self, layer: str) -> Kernel | None:
        """The kernel that computes the layer; None for one that is a module of its own."""
        program = self.lowered.programs.get(layer)
        return None if program is None else program.kernel

    def distinct(self) -> Iterator[str]:
        """The first layer of each key."""
        seen: set[str] = set()
        for layer, key in self.keys.items():
            if key not in seen:
                seen.add(key)
                yield layer


def workload(mod: tvm.IRModule, graph: Graph, spec: TargetSpec, target: tvm.target.Target) -> Workload:
    """The layers of a module of layers. BuildError or CostError names what cannot be lowered or described."""
    return _workload(lower_layers(mod, target), graph, spec, target, on_integers=False)


def integer_workload(mod: tvm.IRModule, graph: Graph, spec: TargetSpec, target: tvm.target.Target) -> Workload:
    """The layers that have weights or data to quantise, each on 8-bit integers; float ones that stay are left out."""
    return _workload(lower_on_integers(mod, graph, target), graph, spec, target, on_integers=True)


def lower_on_integers(mod: tvm.IRModule, graph: Graph, target: tvm.target.Target) -> LoweredLayers:
    """The layers that have weights or data to quantise, lowered on 8-bit integers."""
    steps = [AnnotatePrecision(*made_up_precision(mod, graph)), pipeline.quantized()]
    with explain.heard():  # what the passes have to say of it, they say of the half
        lowered = lower_layers(tvm.transform.Sequential(steps)(mod), target)
    programs = {name: program for name, program in lowered.programs.items() if name in graph.layer}
    return LoweredLayers(programs, {}, {}, lowered.reasons)


def _workload(
    lowered: LoweredLayers, graph: Graph, spec: TargetSpec, target: tvm.target.Target, *, on_integers: bool
) -> Workload:
    found: dict[str, Described] = {}
    keys: dict[str, str] = {}
    known: dict[tvm.ir.BaseFunc, np.ndarray] = {}
    for layer in graph.layers:
        if layer.name not in lowered.programs and layer.name not in lowered.modules:
            continue
        kernel = lowered.programs[layer.name].kernel if layer.name in lowered.programs else None
        keys[layer.name] = key_of(lowered.modules[layer.name] if kernel is None else kernel.function)
        kernels = lowered.parts[layer.name] if kernel is None else (kernel.function,)
        found[layer.name] = describe(graph, layer, kernels, spec, target, kernel is not None, on_integers, known)
    return Workload(graph.name, lowered, found, keys)


def made_up_precision(mod: tvm.IRModule, graph: Graph) -> tuple[dict[str, int], dict[str, Quantizer]]:
    """8 bits for the weights of each layer that has any, and a quantiser that is made up for each tensor."""
    weights = dict.fromkeys(Calibrated.of(mod, graph, {}).weights, INTEGER_BITS)
    return weights, made_up_quantizers(calibratable(graph), together(same_codes(mod).values()))


def made_up_quantizers(names: Collection[str], alike: Iterable[frozenset[str]]) -> dict[str, Quantizer]:
    """A quantiser of each tensor, no two equal but those of one set of `alike`, as calibration would have it."""
    group = {name: min(names) for names in alike for name in names}
    found: dict[str, Quantizer] = {}
    for i, name in enumerate(names):
        made = Quantizer.of_range(INTEGER_BITS, -1.0 - i / 1024, 1.0 + i / 512)
        found[name] = found.setdefault(group.get(name, name), made)
    return {name: found[name] for name in names}


def code_facts(spec: TargetSpec, target: tvm.target.Target) -> dict[str, Any]:
    """What kernels for a target hang on: the target, as TVM has it, versions, and the passes that make them."""
    return {
        "target": spec.name, "arch": spec.arch, "compiled_for": str(target), "versions": versions(),
        "kernels": kernel_set(),
    }  # fmt: skip


def key_of(code: tvm.ir.BaseFunc | tvm.IRModule) -> str:
    """TVM's structural hash of a kernel, whatever it is called, or of a layer's module."""
    if isinstance(code, tvm.IRModule):
        plain = tvm.IRModule({gvar: _nameless(function) for gvar, function in code.functions_items()})
        return f"m{_hash(plain):016x}"
    return f"k{_hash(_nameless(code)):016x}"


def _hash(node: object) -> int:
    return int(tvm_ffi.structural_hash(node, map_free_vars=True)) & (2**64 - 1)


def _nameless(function: tvm.ir.BaseFunc) -> tvm.ir.BaseFunc:
    return function if isinstance(function, relax.Function) else function.without_attr("global_symbol")
