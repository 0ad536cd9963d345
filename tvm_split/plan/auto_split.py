"""Auto-Split: its candidate splits, priced and listed (Banitalebi-Dehkordi et al., KDD 2021).

With bits of the edge layers (eqs. 7 to 9) where the problem has a precision: `auto_split_bits.py`. With floats:

    T_n         bytes of all tensors that cross after layer n, at the narrowest width of cut_bits; T_9 = t_2 + t_9 in
                the paper's figure, where node 2 is read again by a later addition. T_0: the raw network input
    eq. (6)     candidates: every n with T_n <= T_0 that fits the memory; n = 0 is cloud-only
    Algorithm 1 each candidate at each width of cut_bits that fits joins the solution list, which is the answer

The equations' memory is the weights plus the largest single activation; by default this planner takes the artefact's
real memory, with skip tensors and payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tvm_split.errors import PlanError
from tvm_split.plan.auto_split_bits import solutions
from tvm_split.plan.cuts import legal_prefixes
from tvm_split.plan.evaluate import ranked
from tvm_split.plan.memory import does_not_fit, fits
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.sweep import KEEP, Prefix, best_prefixes, sweep


def plan_auto_split(
    problem: Problem, paper_memory: bool = False, keep: int = KEEP, paper_cuts: bool = False
) -> tuple[Candidate, ...]:
    """The solution list soonest first: the `keep` soonest of each width, and cloud-only unless a pin forbids it.

    With paper_memory, a Candidate's edge_memory_bytes is the paper's formula. paper_cuts says that cuts are prefixes,
    which they always are without precision. Exact over prefixes that send no more
    than the input; a heuristic on graphs with branches, where min-cut is exact. PlanError when no prefix honours the
    pins, fits, or sends little enough. O(widths * (layers + reads + keep * layers)).
    """
    if problem.precision is not None:
        return solutions(problem, paper_memory, paper_cuts, keep)
    allowed = legal_prefixes(problem)
    narrowest = _prefixes(problem, min(problem.cut_bits), paper_memory)
    legal, input_bytes = narrowest[allowed.start : allowed.stop], narrowest[0].payload_bytes
    light = [prefix for prefix in legal if prefix.payload_bytes <= input_bytes]
    if not light:
        least = min(prefix.payload_bytes for prefix in legal)
        raise PlanError(
            f"every split that the pins allow sends at least {least} bytes, more than the network input's "
            f"{input_bytes}, and auto-split tries none of these (eq. 6); plan with min-cut, or remove a pin"
        )
    lengths = {prefix.layers for prefix in light}
    found: list[Candidate] = []
    smallest = []
    for bits in problem.cut_bits:
        prefixes = [prefix for prefix in _prefixes(problem, bits, paper_memory) if prefix.layers in lengths]
        smallest.append(min(prefix.memory_bytes for prefix in prefixes))
        found += best_prefixes(problem, bits, [prefix for prefix in prefixes if fits(problem, prefix)], keep)
    if not found:
        raise does_not_fit(problem, "no split that sends at most the input's bytes", min(smallest))
    return ranked(found)


def _prefixes(problem: Problem, bits: int, paper_memory: bool) -> Sequence[Prefix]:
    """The sweep; with paper_memory, its memory is the weights and the largest single activation, nothing else."""
    prefixes = sweep(problem, bits)
    if not paper_memory:
        return prefixes
    return [replace(prefix, memory_bytes=prefix.weight_bytes + prefix.largest_activation_bytes) for prefix in prefixes]
