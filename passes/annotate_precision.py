"""Say of each layer with how many bits its weights are stored, and of each tensor with how many it is held.

    Given:   h = conv2d_relu(x)
    Result:  conv2d_relu: tvm_split.weight_bits = 4, tvm_split.held = {"h": {"bits": 8, "scale": 0.02, "zero_point": 0}}
             main:        tvm_split.held = {"x": ...}                                 (for network inputs)

Deciding is apart from doing: this only writes attributes; quantize-layers reads them. A layer and a tensor that are not
named stay in floating point.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

import tvm

from tvm_split import extract
from tvm_split.errors import PlanError
from tvm_split.graph import Graph
from tvm_split.passes.layer_weights import layer_weights
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.quantize_cut import check_names
from tvm_split.quantizer import Quantizer

log = logging.getLogger("tvm_split.passes")

WEIGHT_BITS, HELD = "tvm_split.weight_bits", "tvm_split.held"
#: widths at which weights are stored as integers, and tensors held as such
WIDTHS = range(2, 9)


@tvm.transform.module_pass(opt_level=0, name="AnnotatePrecision")
@dataclass
class AnnotatePrecision:
    """`weight_bits`: layer -> 2 to 8. `held`: tensor -> its quantiser, of 2 to 8 bits.

    PlanError: there is no such layer, tensor or width, the layer has no constant float32 weights, or the tensor is not
    float32.
    """

    weight_bits: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, Quantizer] = field(default_factory=dict)

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        network = extract.graph(mod)
        _check(network, layer_weights(mod), self.weight_bits, self.held)
        if not self.weight_bits and not self.held:
            log.info("AnnotatePrecision: nothing to do: no layer and no tensor is named")
            return mod
        out = mod.clone()
        for binding, callee in layer_calls(mod):
            layer = network.layer[str(callee.attrs[LAYER])]
            attrs: dict[str, object] = dict(_held(layer.outputs, self.held))
            if layer.name in self.weight_bits:
                attrs[WEIGHT_BITS] = self.weight_bits[layer.name]
            if attrs:
                out.update_func(binding.value.op, callee.with_attrs(attrs))
        attrs = dict(_held(network.inputs, self.held))
        if attrs:
            out["main"] = mod["main"].with_attrs(attrs)
        return out


def _held(tensors: tuple[str, ...], held: Mapping[str, Quantizer]) -> Mapping[str, str]:
    chosen = {name: asdict(held[name]) for name in tensors if name in held}
    return {HELD: json.dumps(chosen)} if chosen else {}


def held_by(function: tvm.relax.Function) -> dict[str, Quantizer]:
    """The quantisers that are written on a layer's function, or on `main`, by the tensor's name."""
    facts = json.loads(str((function.attrs or {}).get(HELD, "{}")))
    return {name: Quantizer(**quantizer) for name, quantizer in facts.items()}


def _check(
    network: Graph, weights: Collection[str], weight_bits: Mapping[str, int], held: Mapping[str, Quantizer]
) -> None:
    check_names("weight_bits", "layer", weight_bits, list(network.layer))
    for name in weight_bits:
        if name not in weights:
            raise PlanError(
                f"layer '{name}' is to have {weight_bits[name]} bits, but it has no constant float32 weights; leave it "
                "out of weight_bits"
            )
    check_names("held", "tensor", held, list(network.tensor))
    for what, bits in [*weight_bits.items(), *((name, quantizer.bits) for name, quantizer in held.items())]:
        if bits not in WIDTHS:
            raise PlanError(f"'{what}' cannot have {bits} bits as integers; the widths are 2 to 8")
    for name in held:
        if network.tensor[name].dtype != "float32":
            raise PlanError(f"tensor '{name}' is {network.tensor[name].dtype}; only float32 is held as integers")
