"""Neurosurgeon: scan the prefixes of one topological order (Kang et al., ASPLOS 2017, section 5).

    total(n) = sum of edge_s[:n] + uplink of all that crosses after layer n + sum of cloud_s[n:] + downlink of results

The paper's networks are chains, where one tensor crosses. On a graph with branches this bills **every** crossing
tensor, and the sentinels n = 0 (cloud-only) and n = all (edge-only) compete. The paper's regressions of layer times are
profiling, and arrive here as Costs; its energy mode is not part of this planner.
"""

from __future__ import annotations

from tvm_split.plan.cuts import legal_prefixes
from tvm_split.plan.evaluate import ranked
from tvm_split.plan.memory import does_not_fit, fits
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.sweep import KEEP, best_prefixes, sweep


def plan_neurosurgeon(problem: Problem, keep: int = KEEP) -> tuple[Candidate, ...]:
    """The `keep` soonest prefixes at each width of cut_bits (and cloud-only), soonest first.

    Exact over prefixes, memory limit included: exact on a chain, a heuristic on other graphs. PlanError when no prefix
    honours the pins or fits. O(widths * (layers + reads + keep * layers)).
    """
    allowed = legal_prefixes(problem)
    found: list[Candidate] = []
    smallest = []
    for bits in problem.cut_bits:
        prefixes = sweep(problem, bits)[allowed.start : allowed.stop]
        smallest.append(min(prefix.memory_bytes for prefix in prefixes))
        found += best_prefixes(problem, bits, [prefix for prefix in prefixes if fits(problem, prefix)], keep)
    if not found:
        raise does_not_fit(problem, "no prefix of the layers' order", min(smallest))
    return ranked(found)
