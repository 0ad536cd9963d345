"""The error budget, searched: how much distortion the soonest plan may have while its measured loss is allowed.

    finest <= limit < coarsest    a planner answers a limit with the soonest plan within it
    bisection                     on the logarithm of the limit; what was allowed is a new lower end, and the distortion
                                  of what was not a new upper end, since no limit above it changes the answer

It takes the loss to rise with the distortion. Where that fails, a plan that was measured is still right, and the
caller chooses the soonest of all that were; the search may then miss a coarser one. Pure; no TVM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tvm_split.plan.precision import Precision

#: plans that are measured at most, each of which takes a compiled half
MEASUREMENTS = 5
#: ends of the search that are so near to each other, as a ratio, are one
NEAR = 1.1


@dataclass(frozen=True, slots=True)
class Answer:
    """A plan within some limit. distortion: its own, 0 for one that loses nothing. allowed: by what was measured.
    is_new: it was measured for this answer, not known from an earlier one."""

    distortion: float
    allowed: bool
    is_new: bool


def search(
    answer: Callable[[float | None], Answer | None], finest: float, measurements: int = MEASUREMENTS
) -> float | None:
    """The largest limit found whose plan is allowed; None for no limit, and 0 when only plans without loss are allowed.

    answer: of a limit, None for no limit; it answers None when nothing keeps the limit. finest: the least distortion
    that any plan but one without loss can have. Measures at most so many plans, the first one unlimited. O(measurements
    + log(log(coarsest / finest) / log(NEAR))) answers.
    """
    first = answer(None)
    if first is None or first.allowed:
        return None
    best, low, high, left = 0.0, finest, first.distortion, measurements - first.is_new
    while left > 0 and low > 0 and high / low > NEAR:
        limit = math.sqrt(low) * math.sqrt(high)
        found = answer(limit)
        if found is None:
            low = limit  # too fine for the memory, or for what is fixed
            continue
        left -= found.is_new
        if found.allowed:
            best = low = limit
        else:
            high = min(limit, found.distortion)
    return best


def finest(precision: Precision) -> float:
    """The least that quantising anything adds to the distortion; 0 when nothing can be quantised."""
    return min(_positive(precision), default=0.0)


def _positive(precision: Precision) -> Iterable[float]:
    for tables in (precision.weight_distortion, precision.tensor_distortion):
        for table in tables.values():
            yield from (value for value in table.values() if value > 0)
