"""The integers and scales of a quantised convolution or matrix product, in NumPy.

No pass by itself. With data (x - zx) * sx in uint8 and weights w * sw in int8, a sum of products of reals is

    sum (x - zx) sx * w sw = (sum x w - zx sum w) * (sx sw)

so its zero point goes into an integer offset of each output channel, and the scale of the result's codes is
sx * sw / sy, computed in float32 from left to right, as onnxruntime does.
"""

from __future__ import annotations

import numpy as np

from tvm_split.passes.qdq_values import TOP, Fixed, Steps

LARGEST_WEIGHT = 128
LIMIT = 2**31
#: a bias whose scale is this near to the sums' own was quantised for them: float32 rounds their product elsewhere
NEAR = 1e-6


def signed(weight: Fixed) -> np.ndarray | None:
    """The weights as int8 with zero point 0; None where they have no such form."""
    if weight.codes.dtype == np.int8 and not weight.zero.any():
        return weight.codes
    if weight.codes.dtype == np.uint8 and (weight.zero == LARGEST_WEIGHT).all():
        return (weight.codes.astype(np.int16) - LARGEST_WEIGHT).astype(np.int8)
    return None


def along(array: np.ndarray, axis: int) -> np.ndarray | None:
    """An array that differs along `axis` alone as one of (channels,), or (1,); None where it differs elsewhere."""
    if array.size == 1:
        return array.reshape(1)
    others = tuple(i for i in range(array.ndim) if i != axis)
    first = array[tuple(slice(None) if i == axis else slice(0, 1) for i in range(array.ndim))]
    return first.reshape(-1) if not others or (array == first).all() else None


def offsets(weight: np.ndarray, axis: int, zero: int) -> np.ndarray:
    """What each output channel's sum has too much by the data's zero point, to be added: int64, one a channel."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    return np.asarray(-zero * weight.sum(axis=others, dtype=np.int64))


def reach(weight: np.ndarray, axis: int) -> np.ndarray:
    """The least and the largest sum of products that uint8 data can give: int64 (2, channels)."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    parts = (np.minimum(weight, 0), np.maximum(weight, 0))
    return np.stack([TOP * part.sum(axis=others, dtype=np.int64) for part in parts])


def fits(reached: np.ndarray, offset: np.ndarray) -> bool:
    """Whether no sum leaves int32, with the offset and without it. What is added in between may wrap around."""
    return all(bool((-LIMIT <= each).all() and (each < LIMIT).all()) for each in (reached, reached + offset))


def integer_bias(bias: Fixed | np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    """The bias, of one axis, in steps of `scale` as int64; None where it is no whole number of them.

    Codes with that scale already are taken as they are, whatever float32 makes of their product with it.
    """
    if isinstance(bias, Fixed):
        if not bias.zero.any() and np.allclose(bias.scale, scale, rtol=NEAR, atol=0):
            return np.asarray(bias.codes, np.int64)
        bias = bias.reals()
    with np.errstate(all="ignore"):
        steps = np.rint(bias.astype(np.float64) / scale)
        exact = steps.astype(np.float32) * scale == bias
    return steps.astype(np.int64) if exact.all() and (np.abs(steps) < LIMIT).all() else None


def rescale(scale: np.ndarray, steps: Steps) -> np.ndarray:
    """What a sum is multiplied with to give the result's codes: float32, one a channel or one for all."""
    return np.asarray(scale / steps.scale, np.float32)
