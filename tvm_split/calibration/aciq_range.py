"""Analytical clipping: the range that is best if the values are Laplace or Gauss distributed.

R. Banner, Y. Nahshan, D. Soudry, "Post training 4-bit quantization of convolutional networks for rapid-deployment",
NeurIPS 2019, section 2. Clipped at mean +- alpha and rounded to 2^M levels, the expected squared error is

    Laplace (b):     2 b^2 e^(-alpha / b) + alpha^2 / (3 4^M)
    Gauss (sigma):   (alpha^2 + sigma^2) (1 - erf(alpha / sigma sqrt 2))
                     - sqrt(2 / pi) alpha sigma e^(-alpha^2 / 2 sigma^2) + alpha^2 / (3 4^M)

and alpha is where its derivative is 0. After a ReLU the values are the positive half of such a distribution about 0:
the levels lie in [0, alpha], twice as dense, which is alpha for M + 1 bits; b and sigma are those of the positive half,
the mean and the root mean square of what is not 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from tvm_split.calibration.statistics import Statistics


def aciq_laplace_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """b is the mean of |x - mean|. Within the values' own range; values of one sign as after a ReLU."""
    return _clipped(statistics, bits, laplace_alpha, lambda absolute, _square: absolute)


def aciq_gauss_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """sigma is the standard deviation. Within the values' own range; values of one sign as after a ReLU."""
    return _clipped(statistics, bits, gauss_alpha, lambda _absolute, square: math.sqrt(square))


@lru_cache
def laplace_alpha(bits: int) -> float:
    """alpha / b: 2.83, 3.89, 5.03 for 2, 3, 4 bits. From alpha e^alpha = 3 4^bits."""
    return _root(lambda alpha: alpha + math.log(alpha) - math.log(3) - bits * math.log(4))


@lru_cache
def gauss_alpha(bits: int) -> float:
    """alpha / sigma: 1.71, 2.15, 2.55 for 2, 3, 4 bits."""
    return _root(
        lambda alpha: (
            alpha * math.erfc(alpha / math.sqrt(2))
            - math.sqrt(2 / math.pi) * math.exp(-alpha * alpha / 2)
            + alpha / (3 * 4**bits)
        )
    )


def _root(rising: Callable[[float], float]) -> float:
    """Where a function goes from negative to positive, by bisection; below 64 for any width up to 32."""
    below, above = 1e-9, 64.0
    for _ in range(64):
        middle = (below + above) / 2
        below, above = (middle, above) if rising(middle) < 0 else (below, middle)
    return above


def _clipped(
    statistics: Statistics, bits: int, alpha: Callable[[int], float], size: Callable[[float, float], float]
) -> tuple[float, float]:
    low, high = statistics.low, statistics.high
    if low >= 0 or high <= 0:
        end = alpha(bits + 1) * size(*statistics.moments())
        return (0.0, min(high, end)) if low >= 0 else (max(low, -end), 0.0)
    mean, (absolute, square) = statistics.mean, _all_values(statistics)
    reach = alpha(bits) * size(absolute, square)
    return max(low, min(mean - reach, 0.0)), min(high, max(mean + reach, 0.0))


def _all_values(statistics: Statistics) -> tuple[float, float]:
    """Mean of |x - mean| and of (x - mean)^2, zeros included."""
    mean, share = statistics.mean, statistics.zeros / statistics.elements
    absolute, square = statistics.moments(mean)
    return absolute * (1 - share) + abs(mean) * share, square * (1 - share) + mean * mean * share
