"""Timings of a machine that does other things as well: in rounds, until two of them agree on the least. No TVM.

What else runs there only ever adds to a time, and may go on for seconds, so that repeats of one moment agree with each
other and are wrong together. So things are timed in rounds, each once a round. A round's time is the lower quartile of
its repeats, and a thing's that of its two shortest rounds, once these lie close together.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tvm_split.errors import CostError

#: most that the two shortest rounds may differ, as a share of their mean
SPREAD = 0.1
#: rounds after which a thing whose rounds still differ is given up
ROUNDS = 6

Take = Callable[[], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds: the mean of the two shortest rounds. spread: their difference over it."""

    seconds: float
    spread: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Timed:
        """CostError without rounds, or when the shortest is not above 0."""
        if not rounds:
            raise CostError("there is no timing to take a time from; expected 1 or more")
        least = sorted(rounds)[:2]
        if not least[0] > 0:
            raise CostError(f"a time of {least[0]} s was taken; expected more than 0")
        seconds = statistics.fmean(least)
        return cls(seconds, (least[-1] - least[0]) / seconds)

    @property
    def noisy(self) -> bool:
        return self.spread > SPREAD


def floor_of(repeats: Sequence[float]) -> float:
    """The lower quartile of a round's repeats. CostError: there is none."""
    if not repeats:
        raise CostError("there is no repeat to take a time from; expected 1 or more")
    return repeats[0] if len(repeats) == 1 else statistics.quantiles(repeats, n=4, method="inclusive")[0]


def in_rounds(
    takes: Mapping[str, Take], rounds: int = ROUNDS, go_on: Callable[[], bool] = lambda: True
) -> dict[str, Timed | CostError]:
    """Each thing timed until it is not noisy, or all `rounds` are over; the CostError of one that cannot be timed.

    Things that were timed less than twice when `go_on` said no are missing.
    """
    floors: dict[str, list[float]] = {name: [] for name in takes}
    failed: dict[str, Timed | CostError] = {}
    for _ in range(rounds):
        for name, take in takes.items():
            if name in failed or (len(floors[name]) > 1 and not Timed.of(floors[name]).noisy):
                continue
            if not go_on():
                break
            try:
                floors[name].append(floor_of(take()))
            except CostError as error:
                failed[name] = error
    return {name: Timed.of(found) for name, found in floors.items() if len(found) > 1 and name not in failed} | failed


def refusal(what: str, timed: Timed) -> str:
    """What is said of a timing that stayed noisy."""
    return (
        f"{what} was timed {ROUNDS} times, and the two shortest of {timed.seconds:.3g} s differ by {timed.spread:.0%}; "
        f"expected at most {SPREAD:.0%}: end what else runs there, and go on"
    )
