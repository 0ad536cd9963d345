"""Put everything that crosses into one dense string of bytes, in the edge module itself.

    Given:   h_quantized: uint8 (N, C) of 4 bits, skip: float32 (edge);   both read in the cloud
    Result:  payload: uint8[ceil(N*C / 2) + 4 * |skip|] = pack(h_quantized, skip) (edge)
             unpacked = unpack(payload) (cloud), which the cloud reads instead

Where assign-cut wants the result at the cloud, network outputs cross too, and the network's result reads what was
unpacked.

Layout of the payload, the same on every machine: tensors in the graph's order, each beginning on a byte. An element of
b bits takes bits [i*b, (i+1)*b) of its tensor, counted from the least significant bit of the first byte; elements wider
than a byte are little-endian, floats by their IEEE bits. Element order is row-major. Widths come from quantize-cut; a
tensor that it left alone has its dtype's width. Bit exact: unpack(pack(x)) == x.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass

import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.graph import DTYPE_BITS, Tensor
from tvm_split.passes.layering import LAYER, identifier, layer_calls, unique
from tvm_split.passes.pack_kernels import pack_kernel, unpack_kernel
from tvm_split.passes.partition import side_outputs
from tvm_split.passes.quantize_cut import QUANTIZED
from tvm_split.passes.side_layers import Build, add_side_layers, side_layer, taken_names

log = logging.getLogger("tvm_split.passes")

PAYLOAD = "payload"
LAYOUT = "tvm_split.payload"


@dataclass(frozen=True, slots=True)
class Part:
    """Where one crossing tensor lies in the payload. `scale` and `zero_point` are None when it was not quantised."""

    tensor: str
    shape: tuple[int, ...]
    dtype: str
    bits: int
    offset: int
    size_bytes: int
    scale: float | None
    zero_point: int | None


@tvm.transform.module_pass(opt_level=0, name="PackCut")
@dataclass
class PackCut:
    """Insert pack and unpack. Where nothing crosses (edge-only, result at the edge) the module stays as it is."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        crossing, _, _ = side_outputs(mod)
        if not crossing:
            log.info("pack-cut: nothing to do: no tensor crosses this cut")
            return mod
        parts = layout(mod, crossing)
        network = extract.graph(mod)
        facts = json.dumps([asdict(part) for part in parts])
        tensors = [network.tensor[name] for name in crossing]
        taken = taken_names(mod)
        payload = unique(PAYLOAD, taken)
        added = [
            side_layer(payload, "pack", "edge", crossing, lambda args: _pack(args, parts, tensors), {LAYOUT: facts})
        ]
        for part, tensor in zip(parts, tensors, strict=True):
            new = unique(identifier(f"{PAYLOAD}_{tensor.name}"), taken)
            build = _unpack(part, tensor)
            added.append(side_layer(new, "unpack", "cloud", [payload], build, {}, replaces={tensor.name: new}))
        return add_side_layers(mod, added)


def layout(mod: tvm.IRModule, crossing: tuple[str, ...]) -> tuple[Part, ...]:
    """The payload's parts in order."""
    network = extract.graph(mod)
    quantized = {}
    for _, callee in layer_calls(mod):
        if QUANTIZED in callee.attrs:
            quantized[str(callee.attrs[LAYER])] = json.loads(str(callee.attrs[QUANTIZED]))
    parts, offset = [], 0
    for name in crossing:
        tensor, facts = network.tensor[name], quantized.get(name, {})
        bits = facts.get("bits", DTYPE_BITS[tensor.dtype])
        size = -(-tensor.elements * bits // 8)
        parts.append(Part(facts.get("tensor", name), tensor.shape, tensor.dtype, bits, offset, size,
                          facts.get("scale"), facts.get("zero_point")))  # fmt: skip
        offset += size
    return tuple(parts)


def read_layout(mod: tvm.IRModule) -> tuple[Part, ...]:
    """The layout that pack-cut wrote into a module (whole or edge half); empty when it has no payload."""
    for _, callee in layer_calls(mod):
        if LAYOUT in callee.attrs:
            parts = json.loads(str(callee.attrs[LAYOUT]))
            return tuple(Part(**{**part, "shape": tuple(part["shape"])}) for part in parts)
    return ()


def _pack(args: list[relax.Expr], parts: tuple[Part, ...], tensors: list[Tensor]) -> relax.Expr:
    builder = relax.BlockBuilder.current()
    pieces = []
    for arg, part, tensor in zip(args, parts, tensors, strict=True):
        gvar = builder.add_func(pack_kernel(tensor, part.bits), f"pack_{part.bits}_{tensor.elements}")
        pieces.append(relax.op.call_tir(gvar, [arg], relax.TensorType((part.size_bytes,), "uint8")))
    return pieces[0] if len(pieces) == 1 else relax.op.concat([builder.emit(piece) for piece in pieces], axis=0)


def _unpack(part: Part, tensor: Tensor) -> Build:
    def build(args: list[relax.Expr]) -> relax.Expr:
        builder = relax.BlockBuilder.current()
        kernel = unpack_kernel(tensor, part.bits, part.offset, int(args[0].ty.shape.values[0]))
        gvar = builder.add_func(kernel, f"unpack_{part.bits}_{part.offset}")
        return relax.op.call_tir(gvar, args, relax.TensorType(tensor.shape, tensor.dtype))

    return build
