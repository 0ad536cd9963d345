"""What float16 loses of weights and of tensors: mean squared errors, None where it cannot hold them. Pure NumPy.

A float16 of a magnitude from 2^e to 2^(e + 1) is a multiple of 2^(e - 10), and of 2^-24 below 2^-14. Numbers that lie
evenly between two multiples, a step apart, are off by step^2 / 12 on average.
"""

from __future__ import annotations

import numpy as np

from tvm_split.calibration.statistics import Statistics

#: the largest number that float16 holds
LARGEST_HALF = float(np.finfo(np.float16).max)
#: of float16: bits of the fraction, and the least exponent of a normal number
FRACTION, LEAST = 10, -14


def half_distortion(weights: np.ndarray) -> float | None:
    """Mean of (w - float16(w))^2 over finite weights."""
    if np.abs(weights).max(initial=0) > LARGEST_HALF:
        return None
    off = weights.astype(np.float64) - weights.astype(np.float16).astype(np.float64)
    return float(np.square(off).mean()) if off.size else 0.0


def half_error(statistics: Statistics) -> float | None:
    """Mean of (x - float16(x))^2 over a tensor's values, as its histogram has them: each bin's at the bin's middle.

    Exact zeros are not off, and what float16 rounds to 0 is off by no more than itself.
    """
    if max(abs(statistics.low), abs(statistics.high)) > LARGEST_HALF:
        return None
    middles = np.abs(statistics.edges[:-1] + statistics.edges[1:]) / 2
    exponents = np.maximum(np.frexp(middles)[1] - 1, LEAST)
    squares = np.minimum(np.ldexp(1.0, 2 * (exponents - FRACTION)) / 12, middles * middles)
    return float((statistics.nonzero_counts * squares).sum() / statistics.elements)
