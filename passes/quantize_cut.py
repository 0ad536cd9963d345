"""Send floating-point tensors on the cut as small unsigned integers.

    Given:   h: float32 = conv2d_relu(x) (edge);                           y = conv2d(h) (cloud)
    Result:  h_quantized: uint8 = clip(round(h / scale) + zero) (edge);    y = conv2d(h_dequantized) (cloud)
             h_dequantized: float32 = (h_quantized - zero) * scale (cloud)

Affine, per tensor, as design.md's "Precision in the IR": scale = (high - low) / (2^bits - 1) over the
calibrated range, widened to hold 0 so that zero is exact. What the cloud reads differs from h by at most scale / 2 an
element while low <= h <= high, and is clipped outside. Widths to 8 travel in uint8, 16 in uint16; a tensor without a
quantiser is left alone.
Edge layers and network outputs made on the edge keep reading the original. Every crossing tensor has its own width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.errors import PlanError
from tvm_split.passes.layering import identifier, unique
from tvm_split.passes.partition import side_outputs
from tvm_split.passes.side_layers import Build, add_side_layers, side_layer, taken_names

QUANTIZED = "tvm_split.quantized"


@dataclass(frozen=True, slots=True)
class Quantizer:
    """q = clip(round(x / scale) + zero_point, 0, 2^bits - 1); x ~ (q - zero_point) * scale."""

    bits: int
    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, bits: int, low: float, high: float) -> Quantizer:
        """The quantiser of a calibrated range. PlanError when the range is empty or not finite."""
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise PlanError(f"a calibrated range must be finite with low <= high, not [{low}, {high}]; check the data")
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        levels = 2**bits - 1
        # float32 because that is what the kernel divides by; the smallest normal number keeps a constant 0 legal
        scale = max(np.float32((high - low) / levels), np.finfo(np.float32).tiny)
        return cls(bits, float(scale), int(np.clip(np.round(-low / float(scale)), 0, levels)))

    @property
    def dtype(self) -> str:
        return "uint8" if self.bits <= 8 else "uint16"


@tvm.transform.module_pass(opt_level=0, name="QuantizeCut")
@dataclass
class QuantizeCut:
    """Quantise the named crossing tensors. `quantizers` may name tensors that do not cross; those are left alone.

    PlanError when a width is not 1 to 8 or 16, or a tensor to be quantised is not floating point.
    """

    quantizers: Mapping[str, Quantizer]

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        crossing, _, _ = side_outputs(mod)
        chosen = {name: self.quantizers[name] for name in crossing if name in self.quantizers}
        added, taken = [], taken_names(mod)
        for name, quantizer in chosen.items():
            if quantizer.bits not in (*range(1, 9), 16):
                raise PlanError(
                    f"tensor '{name}' cannot be quantised to {quantizer.bits} bits; the widths are 1 to 8 and 16"
                )
            facts = json.dumps({"tensor": name, **asdict(quantizer)})
            sent, read = (unique(identifier(f"{name}_{word}"), taken) for word in ("quantized", "dequantized"))
            to_integers, to_floats = _build(quantize, quantizer), _build(dequantize, quantizer)
            added.append(side_layer(sent, "quantize", "edge", [name], to_integers, {QUANTIZED: facts}))
            added.append(side_layer(read, "dequantize", "cloud", [sent], to_floats, {}, replaces={name: read}))
        return add_side_layers(mod, added) if added else mod


def _build(operation: Callable[[relax.Expr, Quantizer], relax.Expr], quantizer: Quantizer) -> Build:
    return lambda args: operation(args[0], quantizer)


def quantize(x: relax.Expr, quantizer: Quantizer) -> relax.Expr:
    """The quantised tensor, in the quantiser's dtype."""
    if not str(x.ty.dtype).startswith("float"):
        raise PlanError(f"a tensor of {x.ty.dtype} cannot be quantised; only floating-point tensors can")
    scale = relax.const(np.float32(quantizer.scale), "float32")
    # The sum stays in float32: zero points up to 65535 are exact there, and so is every result in range.
    shifted = relax.op.add(
        relax.op.round(relax.op.divide(x, scale)), relax.const(float(quantizer.zero_point), "float32")
    )
    return relax.op.astype(relax.op.clip(shifted, 0, 2**quantizer.bits - 1), quantizer.dtype)


def dequantize(q: relax.Expr, quantizer: Quantizer) -> relax.Expr:
    """float32 of what `quantize` made."""
    centred = relax.op.subtract(relax.op.astype(q, "float32"), relax.const(float(quantizer.zero_point), "float32"))
    return relax.op.multiply(centred, relax.const(np.float32(quantizer.scale), "float32"))
