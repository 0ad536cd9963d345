"""The range whose quantiser has the least mean error to some power, searched for on the histogram."""

from __future__ import annotations

import numpy as np

from tvm_split.calibration.histogram_error import errors_of_ranges
from tvm_split.calibration.statistics import Statistics

#: shares of the lowest and of the highest value that a range may end at
COARSE = 2.0 ** -np.arange(9)
#: shares of the far end, for values of one sign: there is but one end to try
ONE_END = 2.0 ** (-np.arange(129) / 16)
#: factors around the best so far, for further tries
TWO_FINER = tuple(2.0 ** (np.arange(-4, 5) * step) for step in (1 / 4, 1 / 16))
ONE_FINER = (2.0 ** (np.arange(-4, 5) / 64),)


def mse_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """The least mean squared error."""
    return least_error_range(statistics, bits, 2)


def l3_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """The least mean cubed error: a compromise with the values at the ends, which matter most to what comes after."""
    return least_error_range(statistics, bits, 3)


def least_error_range(statistics: Statistics, bits: int, power: int) -> tuple[float, float]:
    """The least mean of |x - what x is read as|^power: the higher the power, the more a clipped value weighs.

    Exhaustive over all pairs of `COARSE` shares of both ends, then over the pairs of `TWO_FINER` around the best.

    For values of one sign the other end is 0, and the far end is any of `ONE_END`, then of `ONE_FINER` around the best.
    Ties go to the wider range.
    """
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    best = np.ones(2)
    for shares in (COARSE, *TWO_FINER) if low < 0 < high else (ONE_END, *ONE_FINER):
        pairs = _grid(best, shares, low, high)
        errors = errors_of_ranges(statistics, bits, pairs[:, 0] * low, pairs[:, 1] * high, power)
        best = pairs[np.argmin(errors)]
    return float(best[0] * low), float(best[1] * high)


def _grid(centre: np.ndarray, factors: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pairs of shares of low and of high, the widest range first: (pairs, 2). An end at 0 has one share alone."""
    ends = [
        np.unique(np.minimum(each * factors, 1))[::-1] if end else np.ones(1)
        for each, end in zip(centre, (low, high), strict=True)
    ]
    return np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 2)
