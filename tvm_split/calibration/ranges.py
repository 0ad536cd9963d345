"""Which range a tensor is quantised over: one function a method, statistics and bits -> (low, high)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tvm_split.calibration.aciq_range import aciq_gauss_range, aciq_laplace_range
from tvm_split.calibration.entropy_range import entropy_range
from tvm_split.calibration.histogram_error import mse
from tvm_split.calibration.least_error_range import l3_range, mse_range
from tvm_split.calibration.statistics import Statistics
from tvm_split.errors import PlanError
from tvm_split.quantizer import Quantizer

#: share of the values that `percentile_range` keeps
KEPT = 0.9999

Method = Callable[[Statistics, int], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Choice:
    """A range, the method that gave it, and the mean squared error of its quantiser on the tensor's histogram."""

    quantizer: Quantizer
    low: float
    high: float
    method: str
    mse: float


def min_max_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """Lowest and highest value: nothing is clipped, whatever the width."""
    return statistics.low, statistics.high


def percentile_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """`KEPT` of the values, whatever the width: half of the rest is cut at either end, or all at the far one."""
    below = np.concatenate(([0], np.cumsum(statistics.inside))) / statistics.elements
    one_sided = statistics.low >= 0 or statistics.high <= 0
    cut = (1 - KEPT) / (1 if one_sided else 2)
    low = 0.0 if statistics.low >= 0 else float(np.interp(cut, below, statistics.edges))
    high = 0.0 if statistics.high <= 0 else float(np.interp(1 - cut, below, statistics.edges))
    return low, high


#: the order settles ties: the plainest method first
METHODS: Mapping[str, Method] = {
    "min-max": min_max_range,
    "percentile": percentile_range,
    "mse": mse_range,
    "l3": l3_range,
    "entropy": entropy_range,
    "aciq-laplace": aciq_laplace_range,
    "aciq-gauss": aciq_gauss_range,
}


def range_by(method: str, statistics: Statistics, bits: int) -> Choice:
    """The method's range and quantiser. KeyError for an unknown method; a tensor that never varied keeps its range."""
    find = METHODS[method]
    low, high = find(statistics, bits) if statistics.low < statistics.high else (statistics.low, statistics.high)
    quantizer = Quantizer.of_range(bits, low, high)
    return Choice(quantizer, low, high, method, mse(statistics, quantizer))


def best_range(statistics: Statistics, bits: int) -> Choice:
    """Of all methods' ranges that with the least mean squared error on the histogram; the plainest method of equals.

    A range too wide for a quantiser is passed over; PlanError when each is.
    """
    found: list[Choice] = []
    wide: PlanError | None = None
    for method in METHODS:
        try:
            found.append(range_by(method, statistics, bits))
        except PlanError as error:
            wide = error
    if not found and wide is not None:
        raise wide
    return min(found, key=lambda choice: choice.mse)
