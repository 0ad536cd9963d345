"""Mean error of a quantiser on a histogram, to any power: exact for values that lie evenly in their bin. Pure NumPy.

A quantiser of scale s has the levels n s, for n from -zero_point to 2^bits - 1 - zero_point. With n(x) the number of
the level nearest to x and r = x - n s, the antiderivative of |x - level|^p is

    F(x) = (n s (s / 2)^p + r |r|^p) / (p + 1)                 (n s^3 / 12 + r^3 / 3 for squares)

within the levels (each of them adds as much) and beyond them, where n stays and r grows. A bin [a, b] with c
values adds c (F(b) - F(a)) / (b - a). Values that are exactly 0 add nothing: 0 is a level of every quantiser.
"""

from __future__ import annotations

import numpy as np

from tvm_split.calibration.statistics import Statistics
from tvm_split.quantizer import Quantizer

#: bins narrower than this share of the others (the first and last may be) count as one point
POINT = 1e-6
#: quantisers that are tried at a time: their arrays stay in the cache
BLOCK = 8


def mse(statistics: Statistics, quantizer: Quantizer) -> float:
    """Mean of (x - what x is read as)^2 over the tensor's values, in the square of their unit."""
    return float(errors(statistics, quantizer.bits, [quantizer.scale], [quantizer.zero_point])[0])


def errors(
    statistics: Statistics,
    bits: int,
    scales: np.ndarray | list[float],
    zero_points: np.ndarray | list[int],
    power: int = 2,
) -> np.ndarray:
    """Mean of |x - what x is read as|^power for many quantisers of `bits` bits, float64. O(bins) each."""
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
        each = scale[some] * (scale[some] / 2) ** power
        areas = np.diff(numbers * each + rest * _power(rest, power), axis=1) / (power + 1)
        _, off = _nearest(at, bits, scale[some], zero[some])
        found[some] = areas @ weights + _power(off, power) @ of_point
    return np.maximum(found, 0) / statistics.elements


def errors_of_ranges(
    statistics: Statistics, bits: int, low: np.ndarray, high: np.ndarray, power: int = 2
) -> np.ndarray:
    """`errors` of the quantisers of many ranges, low <= 0 <= high; as Quantizer.of_range with scales in float64."""
    levels = 2**bits - 1
    scales = np.maximum((high - low) / levels, np.finfo(np.float32).tiny)
    return errors(statistics, bits, scales, np.clip(np.rint(-low / scales), 0, levels), power)


def _nearest(x: np.ndarray, bits: int, scale: np.ndarray, zero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the level nearest to each x, and what is left: (quantisers, len(x)) each."""
    numbers = np.clip(np.rint(x / scale), -zero, 2.0**bits - 1 - zero)
    return numbers, x - numbers * scale


def _power(x: np.ndarray, power: int) -> np.ndarray:
    """|x|^power by multiplication, many times faster than NumPy's own."""
    absolute: np.ndarray = np.abs(x)
    found = absolute
    for _ in range(power - 1):
        found = found * absolute
    return found
