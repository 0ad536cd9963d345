"""Cut and bits at once, as one integer programme (HiGHS): any downward-closed cut, every layer's and tensor's width.

    choose   which layers run on the edge; bits of their weights, of the tensors that they make, of each crossing tensor
    so that  no edge layer reads from the cloud, pins hold, every crossing tensor and both half round trips are paid,
             memory fits `memory_bytes`, and distortion is at most `precision.max_distortion`
    best in  latency; or payload, or energy; and of equally good bits at the best cut, the least distorted

**Exact** with live tensors as memory (`live.py`), which is a sum. TVM's storages take more, and are no sum.
So the answer is priced with them; if it does not fit, the programme is solved again with storages larger than what is
alive by as much as they were, until an answer fits. The first programme's best is below every answer's, so `gap` says
how far from the best the answer may be: it is 0 when the first answer fitted. If not, or if time was up, Auto-Split
(min-cut, without precision) competes, and so do the best cuts so far with bits of their own. A minimum cut with each
layer on floats or integers, which is faster, and narrow tensors is a bound too. Without precision, where cuts are few,
every cut is priced: then the gap is 0 again.

A problem without precision is planned at each width of cut_bits, as the other planners do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_split.plan.cut_model import CutModel
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.evaluate import ranked
from tvm_split.plan.infeasible import why_none
from tvm_split.plan.memory import few_cuts
from tvm_split.plan.memory_model import add_memory
from tvm_split.plan.mixed import Bits
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.programme import INF, Sum
from tvm_split.plan.question import ROUNDING, TIME_LIMIT_S, Objective, Question
from tvm_split.plan.rivals import others, relaxed

#: programmes after one that look for an answer whose storages fit
ROUNDS = 3
#: cuts that are given the best bits, when no answer is proven the best
CUTS = 2
#: share of the cost within which HiGHS calls an answer the best
SOLVED = 1e-7


def plan_exact(
    problem: Problem,
    objective: Objective = "latency",
    live: bool = False,
    edge_w: float | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> tuple[Candidate, ...]:
    """The best cut (at each width of cut_bits, without precision), and edge-only and cloud-only where they are legal
    and fit; best first, soonest first when it is latency. The first one's `gap` is set.

    live: memory counts live tensors, as if storages fitted them without a gap; then the answer is exact.
    time_limit_s: for each programme, of which there are a few; when it is up, the best answer so far and its gap.
    PlanError, with what would do, when pins forbid cloud-only and nothing else keeps the limits; and for energy, when a
    power is not known.
    """
    edge, cloud = forced_sides(problem)
    found: list[Candidate] = []
    bound = INF
    limit = problem.precision.max_distortion if problem.precision is not None else None
    for width in (None,) if problem.precision is not None else problem.cut_bits:
        question = Question(problem, objective, width, problem.memory_bytes, limit, live, edge_w, time_limit_s)
        answer = search(question) if problem.graph.layers else Found((), INF)
        found += answer.candidates
        bound = min(bound, answer.bound)
        if not edge:
            found.append(question.price(frozenset(), Bits()))
        if not cloud and width is not None:
            found.append(question.price(frozenset(layer.name for layer in problem.graph.layers), Bits()))
    found = [candidate for candidate in ranked(found) if question.allows(candidate)]
    if not found:
        raise why_none(question, lambda other: search(other).best)
    best, *rest = sorted(found, key=question.cost)
    return replace(best, gap=_gap(question.cost(best), bound)), *rest


@dataclass(frozen=True, slots=True)
class Found:
    """Answers to a question, best first; no answer's cost is below the bound."""

    candidates: tuple[Candidate, ...]
    bound: float

    @property
    def best(self) -> Candidate | None:
        return next(iter(self.candidates), None)


def search(question: Question) -> Found:
    """Answer the question: one programme, and when that is not enough, some more."""
    first = solve(question)
    if first.candidate is None and first.is_infeasible:
        return Found((), INF)
    found = [first.candidate] if first.candidate is not None and question.allows(first.candidate) else []
    bound = first.bound
    if found and not _gap(question.cost(found[0]), bound):
        return Found(tuple(found), bound)
    quick = replace(question, time_limit_s=question.time_limit_s / 4)
    if first.candidate is not None and not found:
        found += _fitting(quick, first, None)
    unlimited = relaxed(question)
    if question.objective == "latency":
        bound = max(bound, unlimited.predicted.total_s * (1 - ROUNDING))
    if not question.live:
        found += others(question)
        ordered = [unlimited, *sorted(found, key=question.cost)]
        cuts = dict.fromkeys(frozenset(other.edge_layers) for other in ordered if other.edge_layers)
        for cut in list(cuts)[:CUTS] if question.width is None else ():
            found += _fitting(quick, solve(quick, cut=cut), cut)
    if question.width is not None and few_cuts(question.problem) is not None:
        bound = min((question.cost(candidate) for candidate in found), default=INF)
    return Found(tuple(sorted(found, key=question.cost)), bound)


def _fitting(question: Question, solved: Solved, cut: frozenset[str] | None) -> list[Candidate]:
    """From an answer on, with storages larger than what is alive by as much as they were, until an answer fits."""
    storages = 1.0
    for _ in range(ROUNDS):
        if solved.candidate is None or question.allows(solved.candidate):
            break
        storages = max(storages * 1.01, _times_alive(question, solved))
        solved = solve(question, storages, cut)
    fits = solved.candidate is not None and question.allows(solved.candidate)
    return [solved.candidate] if solved.candidate is not None and fits else []


def _gap(cost: float, bound: float) -> float:
    """Share of the cost that another answer might save; no cost is negative."""
    saved = cost - max(bound, 0.0)
    return saved / cost if saved > SOLVED * cost else 0.0


@dataclass(frozen=True, slots=True)
class Solved:
    """The programme's best, priced, with the bits that it chose; and its bound."""

    candidate: Candidate | None
    bits: Bits
    bound: float
    is_infeasible: bool = False


def solve(question: Question, storages: float = 1.0, cut: frozenset[str] | None = None) -> Solved:
    """The best cut (or this one) and its bits, if storages take so many times what is alive; of equal bits, the least
    distorted."""
    model = CutModel(question.problem, question.options())
    memory = None
    if question.memory_bytes is not None or question.objective == "memory":
        memory = add_memory(model, storages)
    if memory is not None and question.memory_bytes is not None:
        _limit(model, memory, question.memory_bytes + 0.25)  # bytes are whole: a quarter is rounding
    if question.max_distortion:
        _limit(model, model.distortion, question.max_distortion)
    total = question.total(model, memory)
    sides = {} if cut is None else {on: float(name in cut) for name, on in model.on.items()}
    solution = model.programme.minimise(total, sides, question.time_limit_s)
    if solution.values is None:
        return Solved(None, Bits(), solution.bound, is_infeasible=solution.proven)
    bits = model.bits(solution.values)
    found = question.price(model.cut(solution.values), bits)
    if question.width is None and question.objective != "distortion" and question.allows(found):
        again = model.programme.minimise(model.distortion, model.as_soon(solution.values), question.time_limit_s)
        if again.values is not None:
            finer = question.price(model.cut(again.values), model.bits(again.values))
            same = question.cost(finer) <= question.cost(found) and question.allows(finer)
            if same and finer.distortion <= found.distortion:
                found, bits = finer, model.bits(again.values)
    return Solved(found, bits, solution.bound)


def _limit(model: CutModel, total: Sum, most: float) -> None:
    """total <= most, in numbers near a thousand, which HiGHS takes as they are meant."""
    scaled = Sum()
    scaled.add_all(total, 1e3 / most)
    model.programme.at_most(scaled, 1e3)


def _times_alive(question: Question, solved: Solved) -> float:
    """How many times what is alive the candidate's storages take."""
    candidate = solved.candidate
    assert candidate is not None
    alive = question.price(frozenset(candidate.edge_layers), solved.bits, live=True)
    storages = question.storage_bytes(candidate)
    return storages / max(1, storages - (candidate.edge_memory_bytes - alive.edge_memory_bytes))
