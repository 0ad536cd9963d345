"""How long an answer may take, where its layers' times are predicted with intervals.

    least    sum of the layers' least seconds on edge and cloud; packing, unpacking and the link as they are
    most     the same with their most

Layers of one network on one machine err together: a clock, a compiler or a memory that is slower than was taken is so
for all of them. Their errors do not cancel, so the ends are added up. No TVM.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tvm_split.costs import INTERVAL, Costs
from tvm_split.plan.mixed import CutPrice
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.sending import packed_elements


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds of a whole answer, at least and at most."""

    low_s: float
    high_s: float

    def to_json(self) -> dict[str, float]:
        return {"low_s": self.low_s, "high_s": self.high_s}


def interval_of(problem: Problem, candidate: Candidate) -> Interval | None:
    """Of the answer's total; None where no interval of any of its layers is known. O(layers)."""
    edge = frozenset(candidate.edge_layers)
    integers = _on_integers(problem, candidate)
    sides = [(problem.edge, edge - integers), (problem.cloud, {*problem.graph.layer} - edge)]
    if problem.precision is not None and problem.precision.integer is not None:
        sides.append((problem.precision.integer, integers))
    if not any(INTERVAL in costs.provenance for costs, layers in sides if layers):
        return None
    low_s, high_s = (sum(ends) for ends in zip(*(_ends(costs, layers) for costs, layers in sides), strict=True))
    packed = packed_elements(problem.graph, (part.tensor for part in candidate.crossing))
    known_s = problem.edge.crossing_s(packed) + problem.cloud.crossing_s(packed)
    known_s += candidate.predicted.uplink_s + candidate.predicted.downlink_s
    return Interval(low_s + known_s, high_s + known_s)


def _ends(costs: Costs, layers: Collection[str]) -> tuple[float, float]:
    ends = [costs.ends_of(name) for name in layers]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def _on_integers(problem: Problem, candidate: Candidate) -> frozenset[str]:
    """The edge layers that are computed on integers."""
    if problem.precision is None or not (candidate.weight_bits or candidate.tensor_bits):
        return frozenset()
    return CutPrice(problem, candidate.edge_layers).on_integers(candidate.weight_bits, candidate.tensor_bits)
