"""Auto-Split as published (KDD 2021): prefixes alone, and memory by its own formula, weights and the largest tensor."""

from __future__ import annotations

from tvm_split.plan.auto_split import plan_auto_split
from tvm_split.plan.problem import Candidate, Problem


def plan_auto_split_paper(problem: Problem) -> tuple[Candidate, ...]:
    """`plan_auto_split` with the paper's cuts and memory. A compiled half takes more than `edge_memory_bytes`, so it
    may not fit memory_bytes: to compare with, not to deploy."""
    return plan_auto_split(problem, paper_memory=True, paper_cuts=True)
