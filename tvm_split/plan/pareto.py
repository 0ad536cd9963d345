"""The front of latency against memory or distortion: the soonest answer for each limit worth having.

soonest         without a limit on the other quantity; then again and again with a limit just below what the last
again           answer took (an epsilon constraint), until none is left, or until `points` limits have been tried
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from tvm_split.errors import PlanError
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.mixed import precision_of
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.question import TIME_LIMIT_S

#: limits that are tried
POINTS = 12
#: distortions that differ by less than this share are the same
SAME = 1e-6


def pareto_front(
    problem: Problem,
    against: Literal["memory", "distortion"],
    points: int = POINTS,
    least: float = 0.0,
    live: bool = False,
    time_limit_s: float = TIME_LIMIT_S,
) -> tuple[Candidate, ...]:
    """Answers of which none is both no later and no larger (or no more distorted) than another, soonest first.

    Limits fall from the soonest answer's value to `least` by a share each that makes them `points`; where the answer is
    below its limit, from there on. With many points it is the whole front. Each is as exact as `plan_exact`, whose best
    it is. The problem's own limits hold as well; cloud-only is among the answers where it is legal and soon enough.
    """
    found: list[Candidate] = []
    limit: float | None = None
    share = 0.0
    for _ in range(points):
        try:
            best = plan_exact(_limited(problem, against, limit), live=live, time_limit_s=time_limit_s)[0]
        except PlanError:
            if not found:
                raise
            break
        value = _value(best, against)
        if limit is None:
            share = (max(least, value * 1e-4) / value) ** (1 / points) if value else 0.0
        found.append(best)
        if value <= least or not best.edge_layers:
            break
        limit = min(value - 1, value * share) if against == "memory" else value * min(share, 1 - SAME)
    return _undominated(found, against)


def _value(candidate: Candidate, against: str) -> float:
    """Cloud-only takes no memory that counts: it always fits."""
    if against == "distortion":
        return candidate.distortion
    return float(candidate.edge_memory_bytes) if candidate.edge_layers else 0.0


def _limited(problem: Problem, against: str, limit: float | None) -> Problem:
    if limit is None:
        return problem
    if against == "memory":
        return replace(problem, memory_bytes=int(limit))
    return replace(problem, precision=replace(precision_of(problem), max_distortion=limit))


def _undominated(found: list[Candidate], against: str) -> tuple[Candidate, ...]:
    kept: list[Candidate] = []
    for candidate in sorted(found, key=lambda answer: (answer.predicted.total_s, _value(answer, against))):
        if not kept or _value(candidate, against) < _value(kept[-1], against):
            kept.append(candidate)
    return tuple(kept)
