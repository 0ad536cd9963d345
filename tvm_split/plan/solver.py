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
        if question.memory_bytes is not None or question.objective == "memory":
            memory = add_memory(self.model)
        self._memory_row: tuple[int, float] | None = None
        if memory is not None and question.memory_bytes is not None:
            self._memory_row = self._limit(memory, question.memory_bytes + 0.25)  # bytes are whole: 0.25 is rounding
        if question.max_distortion:
            self._limit(self.model.distortion, question.max_distortion)
        self.total = question.total(self.model, memory)

    def _limit(self, total: Sum, most: float) -> tuple[int, float]:
        """total <= most, in numbers near a thousand, which HiGHS takes as they are meant: the row, and its scale."""
        scaled = Sum()
        scaled.add_all(total, 1e3 / most)
        return self.model.programme.at_most(scaled, 1e3), 1e3 / most

    def relax(
        self, edge: Collection[str], cloud: Collection[str], beyond: int = 0
    ) -> tuple[float, dict[str, float]]:
        """No cut with these layers on the edge and those in the cloud costs less; and how much of each layer is on the
        edge then. Infinite, and {}, when there is none; minus infinity when time was up."""
        on = self.model.on
        sides = {on[name]: 1.0 for name in edge} | {on[name]: 0.0 for name in cloud}
        found = self._solve(self.total, sides, beyond, fractions=True)
        if found.values is None:
            return found.bound, {}
        return found.bound, {name: float(found.values[variable]) for name, variable in on.items()}

    def at(self, cut: Collection[str], beyond: int = 0) -> Solved:
        """The cut's best bits, when storages take so many bytes beyond what is alive."""
        found = self._solve(self.total, {v: float(name in cut) for name, v in self.model.on.items()}, beyond)
        if found.values is None:
            return Solved(None, Bits(), found.bound)
        bits = self.model.bits(found.values)
        return Solved(self.question.price(frozenset(cut), bits), bits, found.bound, found.values)

    def finer(self, solved: Solved, beyond: int = 0) -> Candidate:
        """The least distorted of all bits with the same layers on integers and the same payload."""
        model, question, found = self.model, self.question, solved.candidate
        assert found is not None
        kept = [*model.on.values(), *model.integer.values()]
        kept += [way.variable for ways in model.sent.values() for way in ways]
        fixed = {variable: float(round(solved.values[variable])) for variable in kept}
        again = self._solve(model.distortion, fixed, beyond)
        if again.values is None:
            return found
        other = question.price(frozenset(found.edge_layers), model.bits(again.values))
        same = question.cost(other) <= question.cost(found) and question.allows(other)
        return other if same and other.distortion <= found.distortion else found

    def beyond_alive(self, cut: Collection[str]) -> tuple[int, bool]:
        """Bytes that the cut's storages take beyond what is alive, and whether no widths take fewer.

        Where tensors can be held in few ways, of all of them the fewest. Else with each at its narrowest, which is
        taken for the fewest where nothing speaks for more bits: without a limit on distortion, integers no slower.
        """
        graph, held = self.question.problem.graph, self.model.held
        layers = [graph.layer[name] for name in cut]
        used = dict.fromkeys(name for layer in layers for name in (*layer.inputs, *layer.outputs))
        options = [[(name, bits) for bits in held[name]] for name in used]
        if math.prod(map(len, options)) <= FEW:
            return min(self._beyond(cut, dict(chosen)) for chosen in itertools.product(*options)), True
        return self._beyond(cut, {name: min(held[name]) for name in used}), self._narrow_is_best

    def _beyond(self, cut: Collection[str], held: Mapping[str, int]) -> int:
        bits = Bits(tensors=held)
        return self.question.beyond_alive(self.question.price(frozenset(cut), bits), bits)

    @cached_property
    def _narrow_is_best(self) -> bool:
        problem = self.question.problem
        if self.question.max_distortion is not None or problem.precision is None or problem.precision.integer is None:
            return False
        return all(problem.precision.integer_s(name) <= s for name, s in problem.edge.layer_s.items())

    def _solve(self, total: Sum, fixed: Mapping[int, float], beyond: int, fractions: bool = False) -> Solution:
        programme = self.model.programme
        row, scale = self._memory_row or (0, 0.0)
        programme.tighten(row, beyond * scale)
        try:
            return programme.minimise(total, fixed, self.question.time_limit_s, fractions)
        finally:
            programme.tighten(row, -beyond * scale)
