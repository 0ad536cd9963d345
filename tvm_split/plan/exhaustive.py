"""The oracle: price every legal cut at every width. What the other planners are tested against."""

from __future__ import annotations

from tvm_split.plan.cuts import MAX_CUTS, every_cut
from tvm_split.plan.evaluate import evaluate, ranked
from tvm_split.plan.memory import does_not_fit, fits
from tvm_split.plan.problem import Candidate, Problem


def plan_exhaustive(problem: Problem, limit: int = MAX_CUTS) -> tuple[Candidate, ...]:
    """Every downward-closed cut that the pins and the memory allow, at every width of cut_bits, soonest first.

    Exact, memory limit included. PlanError above `limit` cuts, and when none fits. O(cuts * widths * layers).
    """
    cuts = list(every_cut(problem, limit))
    every = [evaluate(problem, cut, bits) for cut in cuts for bits in problem.cut_bits]
    found = [candidate for candidate in every if fits(problem, candidate)]
    if not found:
        raise does_not_fit(problem, "no legal cut", min(candidate.edge_memory_bytes for candidate in every))
    return ranked(found)
