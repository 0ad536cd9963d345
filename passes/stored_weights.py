"""Weights and tensors that are stored narrower than float32, which they are computed with. No pass by itself.

    w = astype(const float16, "float32");   w = dequantize(const int8, scale of each output channel, 0)

quantize-layers and lower-qdq write them, fuse-activation takes them into the layer that they belong to, channels-last
lays them out, and pack-weights makes kernels of them that widen a vector of weights at a time. A tensor that is held as
float16 is narrowed by an astype in the layer that makes it, and widened by one in every layer that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from tvm_split.calibration.half_error import LARGEST_HALF
from tvm_split.errors import PlanError
from tvm_split.passes.bindings import constant, operator
from tvm_split.passes.qdq_values import fixed_of


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """codes: float16, or int8 with `scale`: float32, one for each index along `axis`."""

    codes: np.ndarray
    scale: np.ndarray | None = None
    axis: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """What they are computed with."""
        return np.dtype("float32")

    @classmethod
    def halves(cls, array: np.ndarray, layer: str) -> StoredWeights:
        """The nearest float16 of each number. PlanError, naming the layer, where one is beyond what float16 holds."""
        if np.abs(array).max(initial=0) > LARGEST_HALF:
            raise PlanError(
                f"layer '{layer}' is to have 16 bits, but its weights reach {np.abs(array).max():g}, more than the "
                f"{LARGEST_HALF:g} of float16; leave it at 32 bits"
            )
        return cls(array.astype("float16"))

    def reals(self) -> np.ndarray:
        """The weights, float32, as dequantize computes them."""
        wide = self.codes.astype("float32")
        if self.scale is None:
            return wide
        shape = [-1 if i == self.axis else 1 for i in range(wide.ndim)]
        return np.asarray(wide * self.scale.reshape(shape), "float32")

    def transpose(self, axes: Sequence[int]) -> StoredWeights:
        moved = np.ascontiguousarray(self.codes.transpose(*axes))
        return replace(self, codes=moved, axis=list(axes).index(self.axis))

    def expr(self) -> relax.Call:
        if self.scale is None:
            return relax.op.astype(relax.const(self.codes), "float32")
        zero = relax.const(np.zeros(self.scale.size, "int8"))
        return relax.op.dequantize(relax.const(self.codes), relax.const(self.scale), zero, self.axis)


def is_widening(value: relax.Expr) -> bool:
    """Whether the call makes float32 of a tensor that is held as float16."""
    held = operator(value) == "relax.astype" and isinstance(value.args[0], relax.Var)
    return held and (str(value.args[0].ty.dtype), str(value.attrs.dtype)) == ("float16", "float32")


def is_narrowing(value: relax.Expr) -> bool:
    """Whether the call makes of a tensor of float32 one that is held as float16."""
    made = operator(value) == "relax.astype" and isinstance(value.args[0], relax.Var)
    return made and (str(value.args[0].ty.dtype), str(value.attrs.dtype)) == ("float32", "float16")


def stored_weights(value: relax.Expr) -> StoredWeights | None:
    """What the call widens; None for any other expression."""
    if operator(value) == "relax.astype":
        codes = constant(value.args[0])
        if codes is None or codes.dtype != np.float16 or str(value.attrs.dtype) != "float32":
            return None
        return StoredWeights(codes)
    fixed = fixed_of(value) if operator(value) == "relax.dequantize" else None
    if fixed is None or fixed.codes.dtype != np.int8 or fixed.zero.any() or not fixed.codes.ndim:
        return None
    axis = int(value.attrs.axis) % fixed.codes.ndim
    scale = np.broadcast_to(fixed.scale.reshape(-1), fixed.codes.shape[axis])
    return StoredWeights(fixed.codes, np.ascontiguousarray(scale), axis)
