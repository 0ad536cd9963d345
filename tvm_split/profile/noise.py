"""Timings of a machine that does other things as well: repeated while they spread, refused when they go on. No TVM."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm_split.errors import CostError
from tvm_split.spread import spread_of

#: most that the middle half of the repeats may spread, as a share of their median
SPREAD = 0.15
#: how often a timing that spreads more is taken again
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds: the median of the repeats. spread: their interquartile range over it."""

    seconds: float
    spread: float

    @classmethod
    def of(cls, repeats: Sequence[float]) -> Timed:
        """CostError without repeats, or when their median is not above 0."""
        if not repeats:
            raise CostError("there is no repeat to take a time from; expected 1 or more")
        seconds = statistics.median(repeats)
        if not seconds > 0:
            raise CostError(f"a time of {seconds} s was taken; expected more than 0")
        return cls(seconds, spread_of(repeats))


def settled(take: Callable[[], Sequence[float]], what: str, limit: float = SPREAD, rounds: int = ROUNDS) -> Timed:
    """The first timing that spreads at most `limit`, of at most `rounds`. CostError, with the spread, if none does."""
    found = []
    for _ in range(rounds):
        found.append(Timed.of(take()))
        if found[-1].spread <= limit:
            return found[-1]
    best = min(found, key=lambda timed: timed.spread)
    raise CostError(
        f"{what} was timed {rounds} times and its repeats spread by {best.spread:.0%} of {best.seconds:.3g} s at the "
        f"least; expected at most {limit:.0%}: end what else runs there, or allow more"
    )
