"""Costs of a network's layers by a device's model: its kernels are lowered, described, and their seconds predicted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tvm_split.costs import INTERVAL, Costs
from tvm_split.errors import CostError
from tvm_split.graph import Graph
from tvm_split.profile.device_model import DeviceModel
from tvm_split.profile.workload import Workload, code_facts, integer_workload, workload
from tvm_split.targets import TargetSpec
from tvm_split.tvm_target import resolve

if TYPE_CHECKING:
    import tvm

SOURCE = "model"


def model_costs(model: DeviceModel, mod: tvm.IRModule, graph: Graph, spec: TargetSpec) -> Costs:
    """Costs of every layer of `graph` on `spec` as part of a half, `source` "model".

    provenance has the device, the error on networks held back, and the interval of each layer. CostError: the model is
    of another target, TVM or kernel set.
    """
    target = _checked(model, spec)
    return _costs(model, workload(mod, graph, spec, target), graph, spec, on_integers=False)


def integer_model_costs(
    model: DeviceModel, mod: tvm.IRModule, graph: Graph, spec: TargetSpec, floats: Costs
) -> Costs | None:
    """The same on 8-bit integers; a layer that has no kernel of integers takes what `floats` says.

    None when the device states no rate of 8-bit integers, as its model then knows no such kernels.
    """
    if spec.peak_int8_ops_per_s is None:
        return None
    found = _costs(model, integer_workload(mod, graph, spec, _checked(model, spec)), graph, spec, on_integers=True)
    ends = {name: list(floats.ends_of(name)) for name in floats.layer_s} | dict(found.provenance[INTERVAL])
    return replace(found, layer_s={**floats.layer_s, **found.layer_s}, provenance={**found.provenance, INTERVAL: ends})


def _checked(model: DeviceModel, spec: TargetSpec) -> tvm.target.Target:
    """TVM's target of the device. CostError when the model is of another target, TVM or kernel set."""
    if spec.simulated:
        raise CostError(f"target '{spec.name}' is simulated and was never profiled; use --costs roofline")
    target = resolve(spec)
    model.check(code_facts(spec, target), f"the cost model of '{model.device.get('target')}'")
    return target


def _costs(model: DeviceModel, work: Workload, graph: Graph, spec: TargetSpec, *, on_integers: bool) -> Costs:
    names = list(work.described)
    found = dict(zip(names, model.layers.seconds([work.described[name] for name in names]), strict=True))
    alone = Costs(spec.name, SOURCE, {name: middle for name, (middle, _, _) in found.items()}, {
        "graph": graph.name, "device": dict(model.device), "date": model.date, "errors": dict(model.errors),
        INTERVAL: {name: [low, high] for name, (_, low, high) in found.items()},
    })  # fmt: skip
    return model.composition.costs(alone, graph, on_integers)
