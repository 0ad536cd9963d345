"""Cut and bits at once, as one integer programme (HiGHS): any downward-closed cut, every layer's and tensor's width.

    choose   which layers run on the edge; bits of their weights, of the tensors that they make, of each crossing tensor
    so that  no edge layer reads from the cloud, pins hold, every crossing tensor and both half round trips are paid,
             memory fits `memory_bytes`, and distortion is at most `precision.max_distortion`
    best in  latency; or payload, or energy; and of equally good bits at the best cut, the least distorted

Cuts are searched by branch and bound (`branch.py`), each with its best bits. **Exact**, while its programmes suffice,
with live tensors as memory (`live.py`): the programme counts every byte of that as prices do (`memory_model.py`). TVM's
storages take more, and are no sum: answers are priced with them, and the bound knows what they take at least
(`least_storages.py`). `gap` is what may be lost: 0 when that settled it. If not, or when the search stopped because it
has taken long enough, Auto-Split (min-cut, without precision) competes, and if nothing fits, the answers of least
memory and of least distortion. Without precision, where cuts are few, every cut is priced.

A problem without precision is planned at each width of cut_bits, as the other planners do.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_split.plan.branch import SOLVED, Branch, Found
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.evaluate import ranked
from tvm_split.plan.infeasible import Nearest
from tvm_split.plan.memory import few_cuts
from tvm_split.plan.mixed import Bits
from tvm_split.plan.problem import ROUNDING, Candidate, Problem
from tvm_split.plan.programme import INF
from tvm_split.plan.question import TIME_LIMIT_S, Objective, Question
from tvm_split.plan.rivals import others, relaxed


def plan_exact(
    problem: Problem,
    objective: Objective = "latency",
    live: bool = False,
    edge_w: float | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> tuple[Candidate, ...]:
    """The best cut (at each width of cut_bits, without precision), and edge-only and cloud-only where they are legal
    and fit; best first, soonest first when it is latency. The first one's `gap` is set.

    live: memory counts live tensors, as if storages fitted them without a gap; then the answer is exact, unless
        the search stopped before it was settled, which its gap says.
    time_limit_s: for each programme; when it is up, what the programme found so far. Programmes are counted, not timed.
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
        nearest = Nearest.of(question, lambda other: search(other).best)
        found = [candidate for candidate in nearest.candidates if question.allows(candidate)]
    if not found:
        raise nearest.error(question, proven=bound == INF)
    best, *rest = sorted(found, key=question.cost)
    return replace(best, gap=_gap(question.cost(best), bound)), *rest


def search(question: Question) -> Found:
    """Answer the question: every cut priced if they are few and have no bits, else branch and bound."""
    known: list[Candidate] = []
    if question.width is not None:
        cuts = few_cuts(question.problem)
        known = [question.price(cut, Bits()) for cut in cuts or () if cut] if cuts is not None else others(question)
        known = sorted((candidate for candidate in known if question.allows(candidate)), key=question.cost)
        if cuts is not None:
            return Found(tuple(known), question.cost(known[0]) if known else INF)
    found = Branch(question, known).search()
    cost = question.cost(found.candidates[0]) if found.candidates else INF
    if found.bound == INF or not _gap(cost, found.bound):
        return found
    bound = found.bound
    more = [*found.candidates, *(others(question) if not question.live else ())]
    if question.objective == "latency" and bound < 0:  # time was up before anything was known
        unlimited = relaxed(question)
        bound = unlimited.predicted.total_s * (1 - ROUNDING)
        narrow = question.price(frozenset(unlimited.edge_layers), question.narrowest())
        more += [narrow] if narrow.edge_layers and question.allows(narrow) else []
    return Found(tuple(sorted(more, key=question.cost)), bound)


def _gap(cost: float, bound: float) -> float:
    """Share of the cost that another answer might save; no cost is negative."""
    if cost == INF:
        return 1.0
    saved = cost - max(bound, 0.0)
    return saved / cost if saved > 2 * SOLVED * cost else 0.0
