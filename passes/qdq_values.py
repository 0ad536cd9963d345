"""What lower-qdq knows of a network's tensors: which hold codes, which are sums of products of codes.

No pass by itself. A *code* is an integer that stands for the real number (code - zero) * scale. Inside a network every
code is uint8: an int8 tensor is kept with 128 added to its codes and its zero point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import relax

from tvm_split.passes.bindings import constant, scalar

#: what is added to an int8 code to make it uint8
SHIFT = {"uint8": 0, "int8": 128}
TOP = 255


@dataclass(frozen=True)
class Steps:
    """The real number of a code is (code - zero) * scale; code and zero are uint8, scale a positive float32."""

    scale: np.float32
    zero: int

    def code(self, value: float) -> int:
        """What `quantize` makes of a real number: half to even, then the codes' ends."""
        with np.errstate(over="ignore"):
            level = np.rint(np.float32(value) / self.scale) + np.float32(self.zero)
        return int(np.clip(level, 0, TOP))

    def value(self, code: int) -> np.float32:
        return np.float32(np.float32(code - self.zero) * self.scale)


@dataclass(frozen=True, eq=False)
class Recoded:
    """An int8 tensor that is kept as `codes`: uint8, 128 more."""

    codes: relax.Var


@dataclass(frozen=True)
class Real:
    """A float32 tensor that is (codes - zero) * scale.

    Where zeros were put around another one, `inside` holds the codes of that and `width` their number before and after
    each axis.
    """

    codes: relax.Var
    steps: Steps
    inside: relax.Var | None = None
    width: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Sums:
    """A float32 tensor that is (raw + offset) * scale, kept between low and high.

    `raw` is int32, in the range `reached` (qdq_arithmetic.reach). `offset` (int64) and `scale` (float32) have one
    element for each channel of axis `axis`, counted from the end, or one for all. `origin` is the binding that clips
    it, None where nothing does.
    """

    raw: relax.Var
    offset: np.ndarray
    scale: np.ndarray
    axis: int
    reached: np.ndarray
    low: float = -math.inf
    high: float = math.inf
    origin: relax.VarBinding | None = None


@dataclass(frozen=True, eq=False)
class Fixed:
    """A constant float32 tensor that is (codes - zero) * scale; scale and zero broadcast against the codes."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def reals(self) -> np.ndarray:
        """The constant itself, as relax.dequantize computes it."""
        centred = self.codes.astype("int32") - self.zero.astype("int32")
        return np.asarray(centred.astype("float32") * self.scale, "float32")

    def reshape(self, shape: tuple[int, ...]) -> Fixed:
        def moved(array: np.ndarray) -> np.ndarray:
            return array.reshape(()) if array.size == 1 else np.broadcast_to(array, self.codes.shape).reshape(shape)

        return Fixed(self.codes.reshape(shape), moved(self.scale), moved(self.zero))

    def transpose(self, axes: list[int]) -> Fixed:
        def moved(array: np.ndarray) -> np.ndarray:
            return array if array.size == 1 else array.transpose(axes)

        return Fixed(self.codes.transpose(axes), moved(self.scale), moved(self.zero))


Value = relax.Expr | Recoded | Real | Sums | Fixed


def steps_of(call: relax.Call, dtype: str) -> Steps | None:
    """The scale and zero point of a quantize or dequantize with codes of `dtype`; None unless one for all codes."""
    scale, zero = scalar(call.args[1]), scalar(call.args[2])
    if dtype not in SHIFT or scale is None or zero is None or not 0 < scale < math.inf or zero != int(zero):
        return None
    code = int(zero) + SHIFT[dtype]
    return Steps(np.float32(scale), code) if 0 <= code <= TOP else None


def fixed_of(call: relax.Call) -> Fixed | None:
    """The constant that a dequantize makes of constant integers; None for any other call."""
    codes, scale, zero = (constant(arg) for arg in call.args)
    if codes is None or scale is None or zero is None or codes.dtype.kind not in "iu" or zero.dtype.kind not in "iu":
        return None
    if str(call.attrs.out_dtype) != "float32" or scale.dtype != np.float32:
        return None
    axis = int(call.attrs.axis) % max(codes.ndim, 1)

    def spread(array: np.ndarray) -> np.ndarray:
        shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
        return array.reshape(()) if array.size == 1 else array.reshape(shape)

    return Fixed(codes, spread(scale), spread(zero))
