"""Engines timed by turns, so that whatever else the machine does meets all of them alike. No TVM, no clock.

ours, onnxruntime, default, ours, onnxruntime, default, ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from tvm_split.errors import CostError

#: a turn is as many calls as take this long, at most MOST_CALLS, at least one
TURN_S = 0.1
MOST_CALLS = 50


class Engine(Protocol):
    def times(self, count: int) -> list[float]:
        """Seconds of each of `count` calls; before more than one, a call that is not counted."""


def interleave(
    engines: Mapping[str, Engine], rounds: int, limits_s: Mapping[str, float] | None = None
) -> dict[str, list[float]]:
    """Seconds of every counted call of each engine, after calls that are not counted.

    A round is one turn of each engine, in the order of the mapping. An engine named in `limits_s` sits out the rounds
    that are left when its counted calls have taken so long; it has one turn at least. CostError: `rounds` below 1.
    """
    if rounds < 1:
        raise CostError(f"repeats is {rounds}; expected 1 or more")
    calls = {name: calls_of_a_turn(_warm_up(engine)) for name, engine in engines.items()}
    found: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            if not found[name] or sum(found[name]) < (limits_s or {}).get(name, math.inf):
                found[name] += engine.times(calls[name])
    return found


def calls_of_a_turn(call_s: float) -> int:
    """How many calls one turn has when a call takes so long."""
    return max(1, min(MOST_CALLS, round(TURN_S / call_s))) if call_s > 0 else MOST_CALLS


def _warm_up(engine: Engine) -> float:
    """Seconds of a call, from calls that are not counted; a slow engine is called only once."""
    (first,) = engine.times(1)
    return first if first >= TURN_S else min(engine.times(3))
