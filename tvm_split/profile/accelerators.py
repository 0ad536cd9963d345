"""Costs on simulated accelerators, by the name of their source.

systolic    the closed form of a systolic array's cycles, and its traffic (systolic.py)
scalesim    the same with the cycles of SCALE-Sim itself (scalesim_run.py)
array       the tile schedule of the Auto-Split authors' proof of concept, which knows its own two chips (mac_array.py)
"""

from __future__ import annotations

from dataclasses import replace

import tvm

from tvm_split.costs import Costs
from tvm_split.errors import CostError
from tvm_split.graph import Graph
from tvm_split.profile.mac_array import EYERISS, TPU, MacArray, array_costs
from tvm_split.profile.read_shapes import layer_shapes
from tvm_split.profile.scalesim_run import release, simulated_cycles
from tvm_split.profile.systolic import FLOAT_BITS, array_of, systolic_costs
from tvm_split.targets.spec import TargetSpec

ARRAYS = {array.name: array for array in (EYERISS, TPU)}


def accelerator_costs(source: str, mod: tvm.IRModule, graph: Graph, spec: TargetSpec, bits: int = FLOAT_BITS) -> Costs:
    """Costs of every layer of the module on the target, weights and float tensors at `bits`; `source` names the costs.

    CostError: the target has no such array, a layer cannot be mapped to one, or scalesim is wanted and not installed.
    """
    if source == "array":
        array = _mac_array(spec)
        channels = {layer: shape.channels for layer, shape in layer_shapes(mod).items()}
        return array_costs(graph, channels, array, bits, bits)
    array_of(spec)  # a wrong target is told before any work
    shapes = layer_shapes(mod)
    if source == "systolic":
        return systolic_costs(graph, shapes, spec, bits)
    costs = systolic_costs(graph, shapes, spec, bits, source, simulated_cycles)
    return replace(costs, provenance={**costs.provenance, "scalesim": release()})


def _mac_array(spec: TargetSpec) -> MacArray:
    if spec.name not in ARRAYS:
        raise CostError(
            f"target '{spec.name}' has no tile schedule; --costs array knows {' and '.join(ARRAYS)} alone: choose one "
            "of them, or use --costs systolic or roofline"
        )
    return ARRAYS[spec.name]
