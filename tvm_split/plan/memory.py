"""What fits the edge's memory, and how much would do."""

from __future__ import annotations

from tvm_split.errors import PlanError
from tvm_split.plan.cuts import every_cut, forced_sides, legal_prefixes
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.sweep import Prefix, as_candidates, sweep

#: cuts times layers up to which each cut is tried: about half a second
FEW = 200_000


def fits(problem: Problem, candidate: Candidate | Prefix) -> bool:
    """Whether the edge holds it. Cloud-only always fits: the edge runs nothing, it only sends the frame it has."""
    if problem.memory_bytes is None:
        return True
    size = candidate.edge_memory_bytes if isinstance(candidate, Candidate) else candidate.memory_bytes
    nothing = not candidate.edge_layers if isinstance(candidate, Candidate) else candidate.layers == 0
    return nothing or size <= problem.memory_bytes


def few_cuts(problem: Problem) -> list[frozenset[str]] | None:
    """Every legal cut, or None when they are more than FEW / layers, too many to price each."""
    forced_sides(problem)
    try:
        return list(every_cut(problem, FEW // max(1, len(problem.graph.layers))))
    except PlanError:
        return None


def smallest_split(problem: Problem) -> Candidate:
    """A cut with at least one edge layer (edge-only included) that the pins allow and that takes least edge memory.

    Exact while each cut can be tried (`few_cuts`). Otherwise the least of all prefixes of the layers' order and of the
    smallest set that holds the pinned layers: so many bytes do, and fewer might. PlanError when the pins leave the edge
    nothing. Every width of cut_bits is tried: one tensor at 8 bits is its own payload, and takes less than at 4.
    """
    cuts = few_cuts(problem)
    if cuts is None:
        found = [candidate for bits in problem.cut_bits for candidate in _prefixes_and_pinned(problem, bits)]
    else:
        found = [evaluate(problem, cut, bits) for cut in cuts if cut for bits in problem.cut_bits]
    if not found:
        raise PlanError(
            f"graph '{problem.graph.name}' has no layer that may run on the edge, so it cannot be split; remove a pin "
            "to the cloud, or plan cloud-only"
        )
    return min(found, key=lambda candidate: (candidate.edge_memory_bytes, candidate.predicted.total_s))


def smallest_split_bytes(problem: Problem) -> int:
    """Edge memory of `smallest_split`: the limit below which a caller who wants a split need not plan."""
    return smallest_split(problem).edge_memory_bytes


def does_not_fit(problem: Problem, what: str, needed_bytes: int) -> PlanError:
    """The error of a planner whose answers all take more than memory_bytes."""
    return PlanError(
        f"{what} fits in memory_bytes={problem.memory_bytes} (--memory), and the pins forbid cloud-only, which always "
        f"fits; {needed_bytes} bytes (weights, tensors, payload and the kernels' scratch) would do: raise memory_bytes "
        "or remove a pin to the edge"
    )


def _prefixes_and_pinned(problem: Problem, bits: int) -> list[Candidate]:
    edge, _ = forced_sides(problem)
    found = [evaluate(problem, edge, bits)] if edge else []
    try:
        allowed = legal_prefixes(problem)
    except PlanError:
        return found
    prefixes = [prefix for prefix in sweep(problem, bits)[allowed.start : allowed.stop] if prefix.layers]
    if prefixes:
        found += as_candidates(problem, bits, [min(prefixes, key=lambda prefix: prefix.memory_bytes)])
    return found
