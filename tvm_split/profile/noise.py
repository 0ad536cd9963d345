"""Timings of a machine that does other things as well: in rounds, until the median is known. No TVM.

What else runs goes on for seconds, so that repeats of one moment agree with each other and are wrong together: things
are timed in rounds, each once a round. A thing's time is the median of its rounds, each the median of its repeats;
rounds that a `pace.Pace` finds slow do not count, and where too few others are left, the time is noise. The least would
be steadier, but no half is ever as fast as the fastest moment of each of its layers.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tvm_split.errors import CostError
from tvm_split.profile.pace import SLOWER, Pace
from tvm_split.spread import spread_of

#: about one standard error of the median that is enough: the rounds' quartiles' distance over the root of their number,
#: as a share of it
SPREAD = 0.05
#: of a thing: at least, and at most
FEWEST, ROUNDS = 3, 10
#: what is known less well after all rounds is noise, as is what others slowed down, by as much as that or more
NOISE = 2 * SPREAD
SLOWED = SLOWER - 1

Take = Callable[[], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds: the median of the rounds. spread: about its standard error, as a share of it. rounds: how many."""

    seconds: float
    spread: float
    rounds: int = 0

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Timed:
        """CostError without rounds, or when their median is not above 0."""
        if not rounds:
            raise CostError("there is no timing to take a time from; expected 1 or more")
        seconds = statistics.median(rounds)
        if not seconds > 0:
            raise CostError(f"a time of {seconds} s was taken; expected more than 0")
        return cls(seconds, spread_of(rounds) / math.sqrt(len(rounds)), len(rounds))

    @property
    def noisy(self) -> bool:
        return self.spread > NOISE


def in_rounds(
    takes: Mapping[str, Take], rounds: int = ROUNDS, go_on: Callable[[], bool] = lambda: True, apart_s: float = 0.0,
    pace: Pace | None = None,
) -> dict[str, Timed | CostError]:  # fmt: skip
    """Each thing timed until its median is known, or all `rounds` are over; the CostError of one that cannot be timed.

    Rounds begin at least `apart_s` seconds after each other. Things that were timed less than FEWEST times when `go_on`
    said no are missing.
    """
    taken: dict[str, list[float]] = {name: [] for name in takes}
    slowed: dict[str, list[float]] = {name: [] for name in takes}
    failed: dict[str, Timed | CostError] = {}
    left = list(takes)
    for _ in range(rounds):
        begin = time.monotonic()
        for name in left:
            if not go_on():
                break
            try:
                own = pace is None or pace.wait(go_on)
                seconds = Timed.of(takes[name]()).seconds
                own = own and (pace is None or pace.is_own())
            except CostError as error:
                failed[name] = error
                continue
            (taken if own else slowed)[name].append(seconds)
        left = [name for name in left if name not in failed and not _known(taken[name])]
        if not left or not go_on():
            break
        time.sleep(max(0.0, begin + apart_s - time.monotonic()))
    found = {name: _found(taken[name], slowed[name]) for name in takes if name not in failed}
    return {name: timed for name, timed in found.items() if timed is not None} | failed


def _found(own: Sequence[float], slowed: Sequence[float]) -> Timed | None:
    """The time of a thing; noise where rounds that others slowed down have to count. None: too few rounds."""
    if len(own) >= FEWEST:
        return Timed.of(own)
    every = [*own, *slowed]
    if len(every) < FEWEST:
        return None
    timed = Timed.of(every)
    return replace(timed, spread=max(timed.spread, SLOWED))


def _known(taken: Sequence[float]) -> bool:
    """Whether no more rounds are needed."""
    return len(taken) >= FEWEST and Timed.of(taken).spread <= SPREAD


def refusal(what: str, timed: Timed) -> str:
    """What is said of a timing that stayed noisy."""
    return (
        f"{what} was timed {timed.rounds} times, and its {timed.seconds:.3g} s have a standard error of about "
        f"{timed.spread:.0%}; expected at most {NOISE:.0%}: end what else runs there, and go on"
    )
