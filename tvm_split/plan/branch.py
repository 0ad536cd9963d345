"""Branch and bound over cuts, best first: linear programmes bound parts of the cuts, whole ones give a cut its bits.

    part      the cuts with some layers on the edge and some in the cloud; the relaxed programme is below all of them
    divided   at the middle of the layers that the relaxed programme puts on both sides; if there are none, it has
              chosen a cut: that is given its best bits, and the part falls into those that differ from it
    pruned    when its bound is no better than the best answer so far

HiGHS alone, with cuts and bits as one programme, takes some ten times as long: it looks for bits before it has a cut.

A cut's best bits, by what is alive, may not fit as TVM plans storages (`arena.py`). Then the cut is solved again with
storages larger by as much as they were, until bits fit. Where no tensor of the cut has two widths to choose from, its
storages are one number and that answer is exact; else the first programme stays the cut's bound.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.mixed import Bits
from tvm_split.plan.problem import ROUNDING, Candidate
from tvm_split.plan.programme import INF
from tvm_split.plan.question import Question
from tvm_split.plan.solver import Solved, Solver

#: programmes after one, at a cut, that look for bits whose storages fit
ROUNDS = 3
#: relaxed programmes: so many, on large ones so many that they have VARIABLES together, but no fewer than FEWEST
PARTS, VARIABLES, FEWEST = 100, 85_000, 4
#: a layer is on one side when it is so near to it
WHOLE = 1e-6
#: share of the cost within which an answer is the best
SOLVED = 1e-7


@dataclass(frozen=True, slots=True)
class Found:
    """Answers to a question, best first; no answer's cost is below the bound."""

    candidates: tuple[Candidate, ...]
    bound: float

    @property
    def best(self) -> Candidate | None:
        return next(iter(self.candidates), None)


Sides = frozenset[str]


@dataclass
class Branch:
    """The search. `known`: answers that need no programme; parts no better than the best of them are not looked at."""

    question: Question
    known: Iterable[Candidate] = ()
    _open: list[tuple[float, int, Sides, Sides]] = field(default_factory=list)
    _left: list[float] = field(default_factory=list)
    _tried: set[Sides] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.solver = Solver(self.question)
        self.best: list[tuple[float, Candidate]] = [(self.question.cost(found), found) for found in self.known]
        self._winner: tuple[Solved, int] | None = None

    def search(self) -> Found:
        """The answers of the cuts that were given bits, and the known ones; exact when parts and rounds sufficed."""
        self._add(-INF, *forced_sides(self.question.problem))
        for _ in range(max(FEWEST, min(PARTS, VARIABLES // len(self.solver.model.programme.low)))):
            if not self._open or self._open[0][0] >= self._least() * (1 - SOLVED):
                break
            bound, _, edge, cloud = heapq.heappop(self._open)
            self._divide(bound, edge, cloud)
        bound = min([self._least(), *self._left, *(part[0] for part in self._open)])
        found = [candidate for _, candidate in sorted(self.best, key=lambda entry: entry[0])]
        if self._winner is not None and self._winner[0].candidate is found[0] and self.question.width is None:
            found[0] = self.solver.finer(*self._winner)
        return Found(tuple(found), bound)

    def _least(self) -> float:
        """Cost of the best answer so far."""
        return min((cost for cost, _ in self.best), default=INF)

    def _add(self, bound: float, edge: Sides, cloud: Sides) -> None:
        heapq.heappush(self._open, (bound, -len(edge) - len(cloud), edge, cloud))

    def _divide(self, above: float, edge: Sides, cloud: Sides) -> None:
        """Bound the part; if it may hold a better answer, try a cut of it, and open what it falls into."""
        bound, on = self.solver.relax(edge, cloud)
        bound = max(above, bound - abs(bound) * ROUNDING if bound < INF else bound)
        if bound >= self._least() * (1 - SOLVED):
            return
        if not on:  # time was up
            self._left.append(bound)
            return
        split = [name for name, value in on.items() if WHOLE < value < 1 - WHOLE]
        cut = frozenset(name for name, value in on.items() if value > 0.5)
        if cut and (not split or not self.best):
            self._try(cut, bound)
        if split:
            middle = split[len(split) // 2]
            self._add(bound, edge | {middle}, cloud)
            self._add(bound, edge, cloud | {middle})
        else:
            for here, there in self._others(cut, edge, cloud):
                self._add(bound, here, there)

    def _others(self, cut: Sides, edge: Sides, cloud: Sides) -> Iterator[tuple[Sides, Sides]]:
        """The part without the cut: its last layers on the edge go to the cloud one by one, or the first ones in the
        cloud to the edge."""
        graph = self.question.problem.graph
        read = {before for name in cut for before in graph.predecessors(name)}
        for layer in graph.layers:
            name = layer.name
            if name in cut and name not in read and name not in edge:
                yield edge, cloud | {name}
                edge = edge | {name}
        for layer in graph.layers:
            name = layer.name
            if name not in cut and name not in cloud and cut.issuperset(graph.predecessors(name)):
                yield edge | {name}, cloud
                cloud = cloud | {name}

    def _try(self, cut: Sides, bound: float) -> None:
        """Give the cut its best bits, and note if it may be better than with those: it costs at least the bound."""
        if cut in self._tried:
            return
        self._tried.add(cut)
        question = self.question
        if question.width is not None:
            found = question.price(cut, Bits())
            if question.allows(found):
                self.best.append((question.cost(found), found))
            return
        beyond, is_least = self.solver.beyond_alive(cut) if question.memory_bytes is not None else (0, True)
        if beyond and self.solver.relax(cut, self._rest(cut), beyond)[0] >= self._least() * (1 - SOLVED):
            solved = Solved(None, Bits(), INF)
        else:
            solved = self.solver.at(cut, beyond)
        if beyond and not is_least:
            bound = max(bound, self.solver.relax(cut, self._rest(cut))[0])
        else:
            bound = max(bound, solved.bound)
        cost = INF
        for _ in range(ROUNDS):
            if solved.candidate is None:
                break
            if question.allows(solved.candidate):
                cost = question.cost(solved.candidate)
                self._keep(cost, solved, beyond)
                break
            # by one more at least: what HiGHS takes as a whole number may be a little off
            beyond = max(beyond + 1, question.beyond_alive(solved.candidate, solved.bits))
            solved = self.solver.at(cut, beyond)
        if bound < cost * (1 - SOLVED):
            self._left.append(bound)

    def _rest(self, cut: Sides) -> list[str]:
        return [name for name in self.solver.model.on if name not in cut]

    def _keep(self, cost: float, solved: Solved, beyond: int) -> None:
        assert solved.candidate is not None
        if cost < self._least():
            self._winner = solved, beyond
        self.best.append((cost, solved.candidate))
