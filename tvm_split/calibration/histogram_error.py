"""Mean squared error of a quantiser on a histogram: exact for values that lie evenly in their bin. Pure NumPy.

A quantiser of scale s has the levels n s, for n from -zero_point to 2^bits - 1 - zero_point. With n(x) the number of
the level nearest to x and r = x - n s, the antiderivative of (x - level)^2 is

    F(x) = n s^3 / 12 + r^3 / 3

within the levels (each of them adds a whole s^3 / 12) and beyond them, where n stays and r grows. A bin [a, b] with c
values adds c (F(b) - F(a)) / (b - a). Values that are exactly 0 add nothing: 0 is a level of every quantiser.
"""

from __future__ import annotations

import numpy as np

from tvm_split.calibration.statistics import Statistics
from tvm_split.passes.quantize_cut import Quantizer

#: bins narrower than this share of the others (the first and last may be) count as one point
POINT = 1e-6
#: quantisers that are tried at a time: their arrays stay in the cache
BLOCK = 8


def mse(statistics: Statistics, quantizer: Quantizer) -> float:
    """Mean of (x - what x is read as)^2 over the tensor's values, in the square of their unit."""
    return float(mses(statistics, quantizer.bits, [quantizer.scale], [quantizer.zero_point])[0])


def mses(
    statistics: Statistics, bits: int, scales: np.ndarray | list[float], zero_points: np.ndarray | list[int]
) -> np.ndarray:
    """`mse` of many quantisers of `bits` bits, float64. O(bins) each."""
    edges, counts = statistics.edges, statistics.nonzero_counts
    widths = np.diff(edges)
    points = widths <= POINT * 2.0**statistics.exponent
    weights = np.divide(counts, widths, out=np.zeros_like(counts), where=~points)
    at, of_point = edges[:-1][points], counts[points]
    scale, zero = (np.asarray(array, np.float64).reshape(-1, 1) for array in (scales, zero_points))
    found = np.empty(len(scale))
    for begin in range(0, len(scale), BLOCK):
        some = slice(begin, begin + BLOCK)
        numbers, rest = _nearest(edges, bits, scale[some], zero[some])
        areas = np.diff(numbers * (scale[some] ** 3 / 12) + rest * rest * (rest / 3), axis=1)
        _, off = _nearest(at, bits, scale[some], zero[some])
        found[some] = areas @ weights + (off * off) @ of_point
    return np.maximum(found, 0) / statistics.elements


def ranges_mse(statistics: Statistics, bits: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`mse` of the quantisers of many ranges, low <= 0 <= high; as Quantizer.of_range, but scales stay in float64."""
    levels = 2**bits - 1
    scales = np.maximum((high - low) / levels, np.finfo(np.float32).tiny)
    return mses(statistics, bits, scales, np.clip(np.rint(-low / scales), 0, levels))


def _nearest(x: np.ndarray, bits: int, scale: np.ndarray, zero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the level nearest to each x, and what is left: (quantisers, len(x)) each."""
    numbers = np.clip(np.rint(x / scale), -zero, 2.0**bits - 1 - zero)
    return numbers, x - numbers * scale
