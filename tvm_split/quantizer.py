"""How a tensor is held as small unsigned integers, and what its readers see of its values. No TVM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_split.errors import PlanError

#: the largest number that the floats hold in which codes are read
MAX32 = float(np.finfo("float32").max)


@dataclass(frozen=True, slots=True)
class Quantizer:
    """q = clip(round(x / scale) + zero_point, 0, 2^bits - 1); x ~ (q - zero_point) * scale."""

    bits: int
    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, bits: int, low: float, high: float) -> Quantizer:
        """The quantiser of a calibrated range, widened to hold 0; a range of one value is exact within rounding.

        PlanError when the range is empty or not finite, or wider than float32, in which the cloud computes
        (q - zero_point) * scale, can hold.
        """
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise PlanError(f"a calibrated range must be finite with low <= high, not [{low}, {high}]; check the data")
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        levels = 2**bits - 1
        if high - low > MAX32:
            raise PlanError(
                f"the range [{low:g}, {high:g}] is {high - low:g} wide; expected at most {MAX32:g}, what float32 "
                "holds: check the weights and the data, or send the tensor at 32 bits"
            )
        # float32 because that is what the kernel divides by; the smallest normal number keeps a constant 0 legal
        scale = max(np.float32((high - low) / levels), np.finfo(np.float32).tiny)
        while float(scale) * levels > MAX32:  # rounded up; else the ends of the range come back infinite
            scale = np.nextafter(scale, np.float32(0))
        return cls(bits, float(scale), int(np.clip(np.round(-low / float(scale)), 0, levels)))

    @property
    def dtype(self) -> str:
        return "uint8" if self.bits <= 8 else "uint16"


def quantize_dequantize(x: np.ndarray, quantizer: Quantizer) -> np.ndarray:
    """What the cloud reads of `x` (floats, any shape): equal, bit for bit, to quantize-cut's two kernels.

    PlanError for what is no float, which quantize-cut cannot quantise.
    """
    if x.dtype.kind != "f":
        raise PlanError(f"a crossing tensor of {x.dtype} cannot be quantised; only floating-point tensors can")
    x, dtype = x.astype(np.float32, copy=False), x.dtype
    scale, zero = np.float32(quantizer.scale), np.float32(quantizer.zero_point)
    with np.errstate(over="ignore"):  # a kernel clips an infinity as well
        levels = np.asarray(x / scale)
        np.rint(levels, out=levels)
        levels += zero
        np.clip(levels, np.float32(0), np.float32(2**quantizer.bits - 1), out=levels)
        levels -= zero
        levels *= scale
        return levels.astype(dtype, copy=False)
