"""Send floating-point tensors on the cut as small unsigned integers.

    Given:   h: float32 = conv2d_relu(x) (edge);                           y = conv2d(h) (cloud)
    Result:  h_quantized: uint8 = clip(round(h / scale) + zero) (edge);    y = conv2d(h_dequantized) (cloud)
             h_dequantized: float32 = (h_quantized - zero) * scale (cloud)

Affine, per tensor, as design.md's "Precision in the IR": scale = (high - low) / (2^bits - 1) over the
calibrated range, widened to hold 0 so that zero is exact. What the cloud reads differs from h by at most scale / 2 an
element while low <= h <= high, and is clipped outside. Widths to 8 travel in uint8, 16 in uint16; a tensor without a
quantiser is left alone.
Edge layers and network outputs made on the edge keep reading the original. Every crossing tensor has its own width.
Where assign-cut wants the result at the cloud, a network output crosses as it is, whatever else reads it there.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.calibration.half_error import LARGEST_HALF
from tvm_split.errors import PlanError
from tvm_split.passes.layering import identifier, unique
from tvm_split.passes.partition import side_outputs
from tvm_split.passes.side_layers import Build, add_side_layers, side_layer, taken_names
from tvm_split.quantizer import Quantizer

log = logging.getLogger("tvm_split.passes")

QUANTIZED = "tvm_split.quantized"


@tvm.transform.module_pass(opt_level=0, name="QuantizeCut")
@dataclass
class QuantizeCut:
    """Quantise the named crossing tensors. `quantizers` may name tensors that do not cross; those are left alone.

    So are network outputs that cross because the result is wanted at the cloud. Where nothing is left to quantise the
    module stays as it is, and the log says why.

    PlanError when there is no tensor of a name, a width is not 1 to 8 or 16, or a tensor to be quantised is not
    floating point.
    """

    quantizers: Mapping[str, Quantizer]

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        crossing, _, results = side_outputs(mod)
        chosen = {n: self.quantizers[n] for n in crossing if n in self.quantizers and n not in results}
        network, added, taken = extract.graph(mod), [], taken_names(mod)
        check_names("quantizers", "tensor", self.quantizers, list(network.tensor))
        for name in self.quantizers:
            if name not in chosen:
                why = "is a result wanted at the cloud" if name in results and name in crossing else "does not cross"
                log.info("quantize-cut: '%s' stays: it %s", name, why)
        if not chosen:
            listed = ", ".join(crossing) or "no tensor"
            log.info("quantize-cut: nothing to do: %s crosses, and none of it has a quantizer to use", listed)
        for name, quantizer in chosen.items():
            if quantizer.bits not in (*range(1, 9), 16):
                raise PlanError(
                    f"tensor '{name}' cannot be quantised to {quantizer.bits} bits; the widths are 1 to 8 and 16"
                )
            facts = json.dumps({"tensor": name, **asdict(quantizer)})
            sent, read = (unique(identifier(f"{name}_{word}"), taken) for word in ("quantized", "dequantized"))
            to_integers, to_floats = _builds(quantizer, network.tensor[name].dtype)
            added.append(side_layer(sent, "quantize", "edge", [name], to_integers, {QUANTIZED: facts}))
            added.append(side_layer(read, "dequantize", "cloud", [sent], to_floats, {}, replaces={name: read}))
        return add_side_layers(mod, added) if added else mod


def check_names(field: str, what: str, names: Iterable[str], known: Sequence[str]) -> None:
    """PlanError, with the nearest names, when the field of a pass names what the network does not have."""
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or known[:3]
            raise PlanError(
                f"{field} names '{name}', but the network has no such {what}; there are {', '.join(close)} and "
                f"others, {len(known)} in all"
            )


def _builds(quantizer: Quantizer, dtype: str) -> tuple[Build, Build]:
    return lambda args: quantize(args[0], quantizer), lambda args: dequantize(args[0], quantizer, dtype)


def quantize(x: relax.Expr, quantizer: Quantizer) -> relax.Expr:
    """The quantised tensor, in the quantiser's dtype; computed in float32 whatever float `x` is."""
    if not str(x.ty.dtype).startswith("float"):
        raise PlanError(f"a tensor of {x.ty.dtype} cannot be quantised; only floating-point tensors can")
    scale = relax.const(np.float32(quantizer.scale), "float32")
    x = x if str(x.ty.dtype) == "float32" else relax.op.astype(x, "float32")
    # The sum stays in float32: zero points up to 65535 are exact there, and so is every result in range.
    shifted = relax.op.add(
        relax.op.round(relax.op.divide(x, scale)), relax.const(float(quantizer.zero_point), "float32")
    )
    return relax.op.astype(relax.op.clip(shifted, 0, 2**quantizer.bits - 1), quantizer.dtype)


def dequantize(q: relax.Expr, quantizer: Quantizer, dtype: str = "float32") -> relax.Expr:
    """The tensor, of a floating-point dtype, that `quantize` was given, as near as its levels come."""
    centred = relax.op.subtract(relax.op.astype(q, "float32"), relax.const(float(quantizer.zero_point), "float32"))
    real = relax.op.multiply(centred, relax.const(np.float32(quantizer.scale), "float32"))
    if dtype == "float16":  # a level may lie half a step past the range, and so past what float16 holds
        real = relax.op.clip(real, -LARGEST_HALF, LARGEST_HALF)
    return real if dtype == "float32" else relax.op.astype(real, dtype)
