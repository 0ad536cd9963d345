"""Say of each layer with how many bits its weights are stored, and of each tensor with how many it is held.

    Given:   h = conv2d_relu(x)
    Result:  conv2d_relu: tvm_split.weight_bits = 4, tvm_split.held = {"h": {"bits": 8, "scale": 0.02, "zero_point": 0}}
             main:        tvm_split.held = {"x": ...}                                 (for network inputs)
    A tensor that is held as float16 needs no quantiser:  tvm_split.halves = ["h"]

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
from tvm_split.plan.precision import HALF_BITS
from tvm_split.quantizer import Quantizer

log = logging.getLogger("tvm_split.passes")

WEIGHT_BITS, HELD, HALVES = "tvm_split.weight_bits", "tvm_split.held", "tvm_split.halves"
#: widths at which weights are stored as integers, and tensors held as such
WIDTHS = range(2, 9)


@tvm.transform.module_pass(opt_level=0, name="AnnotatePrecision")
@dataclass
class AnnotatePrecision:
    """`weight_bits`: layer -> 2 to 8, or 16 for float16. `held`: tensor -> its quantiser, of 2 to 8 bits.
    `halves`: tensors that are held as float16.

    PlanError: there is no such layer, tensor or width, the layer has no constant float32 weights, the tensor is not
    float32, or it is held in two ways.
    """

    weight_bits: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, Quantizer] = field(default_factory=dict)
    halves: Collection[str] = ()

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        network = extract.graph(mod)
        _check(network, layer_weights(mod), self.weight_bits, self.held, self.halves)
        if not self.weight_bits and not self.held and not self.halves:
            log.info("AnnotatePrecision: nothing to do: no layer and no tensor is named")
            return mod
        out = mod.clone()
        for binding, callee in layer_calls(mod):
            layer = network.layer[str(callee.attrs[LAYER])]
            attrs: dict[str, object] = dict(self.held_of(layer.outputs))
            if layer.name in self.weight_bits:
                attrs[WEIGHT_BITS] = self.weight_bits[layer.name]
            if attrs:
                out.update_func(binding.value.op, callee.with_attrs(attrs))
        attrs = dict(self.held_of(network.inputs))
        if attrs:
            out["main"] = mod["main"].with_attrs(attrs)
        return out

    def held_of(self, tensors: tuple[str, ...]) -> dict[str, str]:
        chosen = {name: asdict(self.held[name]) for name in tensors if name in self.held}
        halves = [name for name in tensors if name in self.halves]
        found = ((HELD, chosen), (HALVES, halves))
        return {attribute: json.dumps(value) for attribute, value in found if value}


def held_by(function: tvm.relax.Function) -> dict[str, Quantizer]:
    """The quantisers that are written on a layer's function, or on `main`, by the tensor's name."""
    facts = json.loads(str((function.attrs or {}).get(HELD, "{}")))
    return {name: Quantizer(**quantizer) for name, quantizer in facts.items()}


def halves_by(function: tvm.relax.Function) -> list[str]:
    """The tensors that a layer's function, or `main`, says are held as float16."""
    return [str(name) for name in json.loads(str((function.attrs or {}).get(HALVES, "[]")))]


def _check(
    network: Graph, weights: Collection[str], weight_bits: Mapping[str, int], held: Mapping[str, Quantizer],
    halves: Collection[str],
) -> None:  # fmt: skip
    check_names("weight_bits", "layer", weight_bits, list(network.layer))
    for name in weight_bits:
        if name not in weights:
            raise PlanError(
                f"layer '{name}' is to have {weight_bits[name]} bits, but it has no constant float32 weights; leave it "
                "out of weight_bits"
            )
    check_names("held", "tensor", held, list(network.tensor))
    check_names("halves", "tensor", halves, list(network.tensor))
    both = sorted(set(held).intersection(halves))
    if both:
        raise PlanError(f"tensor '{both[0]}' is to be held as integers and as float16; name it in held or in halves")
    for name, bits in weight_bits.items():
        if bits not in WIDTHS and bits != HALF_BITS:
            raise PlanError(f"the weights of '{name}' cannot have {bits} bits; the widths are 2 to 8, and {HALF_BITS}")
    for name, quantizer in held.items():
        if quantizer.bits not in WIDTHS:
            raise PlanError(f"'{name}' cannot have {quantizer.bits} bits as integers; the widths are 2 to 8")
    for name in (*held, *halves):
        if network.tensor[name].dtype != "float32":
            what = "integers" if name in held else "float16"
            raise PlanError(f"tensor '{name}' is {network.tensor[name].dtype}; only float32 is held as {what}")
