"""At which uplink rates the best answer changes.

With everything else fixed, a cut takes  fixed_s + payload_bytes / rate : a straight line in 1 / rate. The best answers
over all rates are the lower envelope of these lines, and the turning points are its corners, exact to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tvm_split.errors import PlanError
from tvm_split.plan.evaluate import ranked
from tvm_split.plan.problem import Candidate, Problem

Planner = Callable[[Problem], tuple[Candidate, ...]]


@dataclass(frozen=True, slots=True)
class Span:
    """The best answer from low_bytes_per_s to high_bytes_per_s. Its `predicted` is at the problem's own link."""

    low_bytes_per_s: float
    high_bytes_per_s: float
    fixed_s: float
    candidate: Candidate

    def total_s(self, up_bytes_per_s: float) -> float:
        return self.fixed_s + self.candidate.payload_bytes / up_bytes_per_s


def turning_points(problem: Problem, planner: Planner, rates: Sequence[float]) -> tuple[Span, ...]:
    """The best answers from the lowest to the highest of the rates (bytes a second, uplink), slowest link first.

    Plans at each rate, then at each corner of the envelope until no plan there beats the envelope: exact over all rates
    between when the planner is exact, and over the candidates that it returned otherwise. The downlink's rate and the
    round trip stay as they are. About two plans a span. PlanError unless there are two different, positive rates.
    """
    low, high = min(rates, default=0.0), max(rates, default=0.0)
    if not 0 < low < high:
        raise PlanError(f"rates are {list(rates)}; give at least two different positive rates in bytes a second")
    asked: set[float] = set()
    found: list[Candidate] = []
    waiting = set(rates)
    while waiting:
        for rate in sorted(waiting):
            found += planner(problem.with_link(replace(problem.link, up_bytes_per_s=rate)))
        asked |= waiting
        found = list(ranked(_at(problem, candidate) for candidate in found))
        spans = envelope(problem, found, low, high)
        waiting = {span.high_bytes_per_s for span in spans} - asked
    return spans


def envelope(problem: Problem, candidates: Iterable[Candidate], low: float, high: float) -> tuple[Span, ...]:
    """The best of the candidates at each uplink rate from low to high, slowest first. Where lines meet, the one with
    the smaller payload is taken below. O(spans * candidates)."""
    lines = [(_fixed_s(problem, candidate), candidate.payload_bytes, candidate) for candidate in ranked(candidates)]
    rate = high
    fixed, sent, best = min(lines, key=lambda line: (line[0] + line[1] / rate, line[1]))
    spans: list[Span] = []
    while True:
        below = [(_meeting(fixed, sent, line), line) for line in lines if line[1] < sent and line[0] > fixed]
        turn, line = max(below, key=lambda found: (found[0], -found[1][1]), default=(0.0, (fixed, sent, best)))
        turn = min(turn, rate)
        if turn < rate or turn <= low:
            spans.append(Span(max(turn, low), rate, fixed, best))
        if turn <= low:
            return tuple(reversed(spans))
        rate = turn
        fixed, sent, best = line


def _meeting(fixed: float, sent: int, line: tuple[float, int, Candidate]) -> float:
    """Rate below which the line, with its smaller payload and larger fixed time, is the faster one."""
    return (sent - line[1]) / (line[0] - fixed)


def _fixed_s(problem: Problem, candidate: Candidate) -> float:
    timing = candidate.predicted
    half_trip = problem.link.rtt_s / 2 if candidate.crossing else 0.0
    return timing.edge_s + timing.cloud_s + timing.downlink_s + half_trip


def _at(problem: Problem, candidate: Candidate) -> Candidate:
    """The candidate timed at the problem's own link."""
    uplink_s = problem.link.up_s(candidate.payload_bytes) if candidate.crossing else 0.0
    return replace(candidate, predicted=replace(candidate.predicted, uplink_s=uplink_s))
