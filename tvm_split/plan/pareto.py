"""The front of latency against memory or distortion: the soonest answer for each limit worth having.

soonest     without a limit on the other quantity
walk        with a limit just below what the last answer took (an epsilon constraint), until none is left, or half of
            `points` questions are asked
sample      the others in the middle of the largest range of limits that nothing is known of

An answer below its limit is the soonest for all limits down to what it takes, so those are known as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tvm_split.errors import PlanError
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.mixed import precision_of
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.question import TIME_LIMIT_S

Against = Literal["memory", "distortion"]

#: questions that are asked
POINTS = 16
#: distortions that differ by less than this share are the same
SAME = 1e-6
#: limits below this share of the soonest answer's value are rarely kept: ranges are halved above it
LEAST = 1e-2


@dataclass(frozen=True)
class Front:
    """Answers, soonest first, and whether they are the whole front: no limit is left that nothing is known of."""

    answers: tuple[Candidate, ...]
    is_whole: bool


@dataclass(frozen=True)
class _Unknown:
    """Limits between two values, neither of them among these."""

    low: float
    high: float


def pareto_front(
    problem: Problem,
    against: Against,
    points: int = POINTS,
    least: float = 0.0,
    live: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
    known: Sequence[Candidate] = (),
) -> Front:
    """Answers of which none is both no later and no larger (or no more distorted) than another.

    least: nothing is asked below this value. known: other answers within the problem's limits, which are in the front
    where nothing beats them. Each answer is as exact as `plan_exact`, whose best it is; if all are, a whole front is
    the true one. The problem's own limits hold as well; cloud-only, which always fits (`question.allows`), is the
    front's end where it is legal. PlanError when the problem has no answer.
    """
    best = _best(problem, against, None, live, time_limit_s)
    found, top = [best], _value(best, against)
    low = least - 1 if against == "memory" else least
    unknown = _left([_Unknown(low, top)], against)
    for count in range(1, points):
        if not unknown:
            break
        span = max(unknown, key=(lambda each: each.high) if count <= points // 2 else (lambda each: _jump(each, top)))
        limit = _below(span.high, against) if count <= points // 2 else _middle(span, top, against)
        unknown.remove(span)
        unknown.append(_Unknown(limit, span.high))
        try:
            best = _best(problem, against, limit, live, time_limit_s)
        except PlanError:  # nor is there one for less
            pass
        else:
            found.append(best)
            unknown.append(_Unknown(span.low, _value(best, against)))
        unknown = _left(unknown, against)
    return Front(_undominated([*found, *known], against), not unknown)


def _left(spans: Sequence[_Unknown], against: Against) -> list[_Unknown]:
    """Those that have a limit in them."""
    return [span for span in spans if span.high > 0 and _below(span.high, against) > span.low]


def _below(value: float, against: Against) -> float:
    return value - 1 if against == "memory" else value * (1 - SAME)


def _jump(span: _Unknown, top: float) -> float:
    return math.log(span.high / min(span.high, max(span.low, top * LEAST)))


def _middle(span: _Unknown, top: float, against: Against) -> float:
    """By ratio."""
    middle = math.sqrt(span.high * max(span.low, top * LEAST))
    if against == "memory":
        middle = math.floor(middle)
    return middle if span.low < middle < span.high else _below(span.high, against)


def _best(problem: Problem, against: Against, limit: float | None, live: bool, time_limit_s: float) -> Candidate:
    return plan_exact(_limited(problem, against, limit), live=live, time_limit_s=time_limit_s)[0]


def _value(candidate: Candidate, against: Against) -> float:
    """Cloud-only is within every limit on memory."""
    if against == "distortion":
        return candidate.distortion
    return float(candidate.edge_memory_bytes) if candidate.edge_layers else 0.0


def _limited(problem: Problem, against: Against, limit: float | None) -> Problem:
    if limit is None:
        return problem
    if against == "memory":
        return replace(problem, memory_bytes=int(limit))
    return replace(problem, precision=replace(precision_of(problem), max_distortion=limit))


def _undominated(found: list[Candidate], against: Against) -> tuple[Candidate, ...]:
    kept: list[Candidate] = []
    for candidate in sorted(found, key=lambda answer: (answer.predicted.total_s, _value(answer, against))):
        if not kept or _value(candidate, against) < _value(kept[-1], against):
            kept.append(candidate)
    return tuple(kept)
