"""How far timings of one thing lie apart. No TVM."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread_of(values: Sequence[float]) -> float:
    """The distance of the quartiles over the median; 0 of a single value, or where the median is not above 0."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 0.0
