"""One integer programme for a question, solved for parts of its cuts: within limits, at one cut, or with fractions.

relax      some layers fixed on the edge, some in the cloud; no variable need be whole: a bound, in milliseconds
at         one cut, its best bits; storages may be larger than what is alive by some bytes
finer      of bits that cost the same at one cut, the least distorted
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tvm_split.plan.cut_model import CutModel
from tvm_split.plan.evaluate import of_layers, results_at_edge
from tvm_split.plan.least_storages import least_storages
from tvm_split.plan.memory_model import add_memory
from tvm_split.plan.mixed import Bits
from tvm_split.plan.problem import Candidate
from tvm_split.plan.programme import Solution, Sum
from tvm_split.plan.question import Question

#: ways to hold a cut's tensors up to which each is tried
FEW = 16


@dataclass(frozen=True, slots=True)
class Solved:
    """A cut's best bits, priced; and the bound. The candidate need not keep the limits, which the programme measures by
    what is alive. None: there is none within them, and the bound is infinite, or time was up."""

    candidate: Candidate | None
    bits: Bits
    bound: float
    values: Any = None


class Solver:
    """The programme of a question."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.model = CutModel(question.problem, question.options())
        memory = None
        self._memory_row: tuple[int, float] | None = None
        self._floor_row: tuple[int, float] | None = None
        if question.memory_bytes is not None or question.objective == "memory":
            memory, storages = add_memory(self.model)
            if storages.terms and not question.live:
                less = Sum()
                less.add_all(storages, -1.0)
                self._floor_row = self._limit(less, 0.0, max(storages.terms.values()))
        if memory is not None and question.memory_bytes is not None:
            self._memory_row = self._limit(memory, question.memory_bytes + 0.25, question.memory_bytes)  # whole bytes
        if question.max_distortion:
            self._limit(self.model.distortion, question.max_distortion, question.max_distortion)
        self.total = question.total(self.model, memory)

    def _limit(self, total: Sum, most: float, unit: float) -> tuple[int, float]:
        """total <= most, in thousandths of the unit, which HiGHS takes as they are meant: the row, and its scale."""
        scaled = Sum()
        scaled.add_all(total, 1e3 / unit)
        return self.model.programme.at_most(scaled, most * 1e3 / unit), 1e3 / unit

    @cached_property
    def _least_storages(self) -> list[int]:
        return least_storages(
            self.question.problem.graph, self.model.options.held, results_at_edge(self.question.problem)
        )

    def _floor(self, edge: Collection[str]) -> int:
        """Bytes that storages take at least with these layers on the edge."""
        graph = self.question.problem.graph
        if self._floor_row is None or not edge:
            return 0
        here = graph.closure(edge)
        first = next((i for i, layer in enumerate(graph.layers) if layer.name not in here), len(graph.layers))
        return self._least_storages[first]

    def relax(self, edge: Collection[str], cloud: Collection[str], beyond: int = 0) -> tuple[float, dict[str, float]]:
        """No cut with these layers on the edge and those in the cloud costs less; and how much of each layer is on the
        edge then. Infinite, and {}, when there is none; minus infinity when time was up."""
        on = self.model.on
        sides = {on[name]: 1.0 for name in edge} | {on[name]: 0.0 for name in cloud}
        found = self._solve(self.total, sides, beyond, self._floor(edge), fractions=True)
        if found.values is None:
            return found.bound, {}
        return found.bound, {name: float(found.values[variable]) for name, variable in on.items()}

    def at(self, cut: Collection[str], beyond: int = 0) -> Solved:
        """The cut's best bits, when storages take so many bytes beyond what is alive."""
        sides = {v: float(name in cut) for name, v in self.model.on.items()}
        found = self._solve(self.total, sides, beyond, self._floor(cut))
        if found.values is None:
            return Solved(None, Bits(), found.bound)
        bits = self.model.bits(found.values)
        return Solved(self.question.price(frozenset(cut), bits), bits, found.bound, found.values)

    def finer(self, solved: Solved, beyond: int = 0) -> Candidate:
        """The least distorted of all bits that take the same seconds and send the same bytes."""
        model, question, found = self.model, self.question, solved.candidate
        assert found is not None
        again = self._solve(model.distortion, model.as_soon(solved.values), beyond, 0)
        if again.values is None:
            return found
        other = question.price(frozenset(found.edge_layers), model.bits(again.values))
        same = question.cost(other) <= question.cost(found) and question.allows(other)
        return other if same and other.distortion <= found.distortion else found

    def beyond_alive(self, cut: Collection[str]) -> tuple[int, bool]:
        """Bytes that the cut's storages take beyond what is alive, and whether no widths take fewer.

        Where tensors can be held in few ways, of all of them the fewest. Else with each at its narrowest, which need
        not be the fewest: a wider tensor lies in storages of another dtype.
        """
        graph, held = self.question.problem.graph, self.model.held
        layers = [graph.layer[name] for name in cut]
        used = dict.fromkeys(name for layer in layers for name in (*layer.inputs, *layer.outputs))
        options = [[(name, bits) for bits in held[name]] for name in used]
        if math.prod(map(len, options)) <= FEW:
            return min(self._beyond(cut, dict(chosen)) for chosen in itertools.product(*options)), True
        return self._beyond(cut, {name: min(held[name]) for name in used}), False

    def _beyond(self, cut: Collection[str], held: Mapping[str, int]) -> int:
        bits = Bits(tensors=held)
        return self.question.beyond_alive(self.question.price(frozenset(cut), bits, of_layers), bits)

    def _solve(
        self, total: Sum, fixed: Mapping[int, float], beyond: int, floor: int, fractions: bool = False
    ) -> Solution:
        """With so many bytes less of memory, and storages of at least `floor` bytes beside these."""
        programme = self.model.programme
        floor = max(0, floor - beyond)
        changed = [(row, by) for row, by in ((self._memory_row, beyond), (self._floor_row, floor)) if row is not None]
        for (row, scale), by in changed:
            programme.tighten(row, by * scale)
        try:
            return programme.minimise(total, fixed, self.question.time_limit_s, fractions)
        finally:
            for (row, scale), by in changed:
                programme.tighten(row, -by * scale)
