"""Symmetric quantisers of weights, one scale for each output channel. Pure NumPy.

    code = clip(round(w / scale), -L, L),   w ~ code * scale,   L = 2^(bits - 1) - 1

-L - 1 is not used, so that a code's sign can always be turned. Everything is computed in float32.
"""

from __future__ import annotations

import numpy as np

from tvm_split.errors import PlanError

WIDTHS = range(2, 9)
METHODS = ("max", "mse")
#: shares of the largest weight that the search for the least error lets the largest code stand for
SHARES = 2.0 ** -np.arange(0, 4.125, 0.125)
#: least-squares steps from the best share
STEPS = 3
#: weights that are tried at a time: they stay in the cache
BLOCK = 1 << 16
#: the least normal number: no scale is smaller
_TINY = np.finfo(np.float32).tiny


def quantize_weights(array: np.ndarray, axis: int, bits: int, method: str = "mse") -> tuple[np.ndarray, np.ndarray]:
    """Codes (int8, the array's shape) and scales (float32, one for each index along `axis`, the output channels).

    "max": scale = max |w| / L, nothing is clipped. "mse": the scale of least squared error among `SHARES` of that one,
    then up to `STEPS` steps of least squares, scale = sum(w code) / sum(code^2); never worse than "max". A channel of
    zeros has scale 1 and codes 0. PlanError: bits not 2 to 8, an unknown method, or weights that are not finite floats.
    """
    if bits not in WIDTHS:
        raise PlanError(f"weights cannot be quantised to {bits} bits; the widths are 2 to 8")
    if method not in METHODS:
        raise PlanError(f"there is no method '{method}' for weights; there are {', '.join(METHODS)}")
    rows = _rows(array, axis)
    scales = _largest_scales(rows, bits)
    if method == "mse":
        step = max(1, BLOCK // max(rows.shape[1], 1))
        blocks = [slice(begin, begin + step) for begin in range(0, len(rows), step)]
        scales = np.concatenate([_search(rows[block], scales[block], bits) for block in blocks])
    codes = _codes(rows, scales, bits).astype(np.int8)
    moved = np.moveaxis(array, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(codes.reshape(moved), 0, axis)), scales


def dequantize_weights(codes: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """The weights that the codes stand for, float32."""
    shape = [1] * codes.ndim
    shape[axis] = -1
    return np.asarray(codes.astype(np.float32) * scales.reshape(shape), np.float32)


def nearest_weights(array: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """What the nearest codes of the weights stand for, float32; as `quantize_weights`."""
    return dequantize_weights(*quantize_weights(array, axis, bits), axis)


def weight_distortion(array: np.ndarray, axis: int, bits: int, method: str = "mse") -> float:
    """Auto-Split's D_i^w: mean of (w(16) - w(bits))^2 over all weights; 0 at 16 bits and more.

    w(16), the reference, is the same quantiser at 16 bits with scale max |w| / 32767 for each output channel. Errors as
    `quantize_weights`.
    """
    if bits >= 16:
        return 0.0
    rows, (codes, scales) = _rows(array, axis), quantize_weights(array, axis, bits, method)
    fine = _largest_scales(rows, 16)
    reference = _codes(rows, fine, 16) * fine[:, np.newaxis]
    coarse = _rows(dequantize_weights(codes, scales, axis), axis)
    return float(np.square(reference - coarse, dtype=np.float64).mean())


def _rows(array: np.ndarray, axis: int) -> np.ndarray:
    """(channels, weights of a channel) in float32."""
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise PlanError(f"weights of {array.dtype} {array.shape} are not all finite floats; check the model's weights")
    moved = np.moveaxis(array, axis, 0)
    return np.ascontiguousarray(moved, np.float32).reshape(len(moved), -1)


def _largest_scales(rows: np.ndarray, bits: int) -> np.ndarray:
    largest = np.abs(rows).max(axis=1, initial=0)
    return np.where(largest > 0, np.maximum(largest / _top(bits), _TINY), 1).astype(np.float32)


def _top(bits: int) -> np.float32:
    return np.float32(2 ** (bits - 1) - 1)


def _codes(rows: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    codes: np.ndarray = np.rint(rows / scales[:, np.newaxis])
    np.clip(codes, -_top(bits), _top(bits), out=codes)
    return codes


def _search(rows: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """The scales of least squared error; the first, and so the widest, of equals."""
    best, least = scales, np.full(len(rows), np.inf)
    for share in SHARES:
        best, least, _ = _better(rows, np.maximum(scales * np.float32(share), _TINY), bits, best, least)
    for _ in range(STEPS):
        codes = _codes(rows, best, bits)
        squares = np.einsum("ij,ij->i", codes, codes)
        fitted = np.einsum("ij,ij->i", rows, codes) / np.maximum(squares, 1)
        tried = np.where((squares > 0) & (fitted >= _TINY), fitted, best).astype(np.float32)
        best, least, found = _better(rows, tried, bits, best, least)
        if not found:
            break
    return best


def _better(
    rows: np.ndarray, tried: np.ndarray, bits: int, best: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """`best` and `least` where the tried scales are no better, and whether any is."""
    off = _codes(rows, tried, bits)
    off *= -tried[:, np.newaxis]
    off += rows
    errors = np.einsum("ij,ij->i", off, off).astype(np.float64)
    better = errors < least
    return np.where(better, tried, best), np.where(better, errors, least), bool(better.any())
