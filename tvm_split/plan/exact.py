"""Cut and bits at once, as one integer programme (HiGHS): any downward-closed cut, every layer's and tensor's width.

    choose   which layers run on the edge; bits of their weights, of the tensors that they make, of each crossing tensor
    so that  no edge layer reads from the cloud, pins hold, every crossing tensor and both half round trips are paid,
             memory fits `memory_bytes`, and distortion is at most `precision.max_distortion`
    best in  latency; or payload, or energy; and of equally good bits at the best cut, the least distorted

**Exact** with live tensors as memory (`live.py`), which is a sum. The storages that TVM plans are not one, and take more.
So the answer is priced with them; if it does not fit, the limit is lowered by what was too much, until an answer does.
The first programme's best stays a bound below every answer's, and `gap` says how far from it the answer may be: 0 when
the first answer fitted. A problem without precision is planned at each width of cut_bits, as the other planners do, and
where cuts are few each of them is priced when the gap is not 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tvm_split.errors import PlanError
from tvm_split.plan.arena import arena_bytes
from tvm_split.plan.choices import Choices, choices, float_choices, worthwhile
from tvm_split.plan.cut_model import CutModel
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.live import live_bytes
from tvm_split.plan.memory_model import add_memory
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.programme import INF, Sum

Objective = Literal["latency", "payload", "energy", "memory", "distortion"]

#: seconds that HiGHS may take for one programme
TIME_LIMIT_S = 10.0
#: programmes after the first that look for an answer whose storages fit
ROUNDS = 6
#: a distortion above its limit by this share is rounding; so is a gap
ROUNDING = 1e-9


@dataclass(frozen=True)
class Search:
    """One question: the best cut with at least one edge layer.

    width: of all floating-point crossing tensors, when the problem has no precision. memory_bytes, max_distortion:
    limits, None for none. live: memory counts live tensors, not TVM's storages. edge_w: power of the edge, computing.
    """

    problem: Problem
    objective: Objective = "latency"
    width: int | None = None
    memory_bytes: int | None = None
    max_distortion: float | None = None
    live: bool = False
    edge_w: float | None = None
    time_limit_s: float = TIME_LIMIT_S

    def price(self, edge: frozenset[str], bits: Bits, live: bool | None = None) -> Candidate:
        storages = live_bytes if (self.live if live is None else live) else arena_bytes
        if self.width is not None:
            return evaluate(self.problem, edge, self.width, storages)
        return evaluate_mixed(self.problem, edge, bits, storages)

    def allows(self, found: Candidate) -> bool:
        """Whether the candidate keeps both limits; cloud-only keeps that on memory."""
        if self.memory_bytes is not None and found.edge_layers and found.edge_memory_bytes > self.memory_bytes:
            return False
        return self.max_distortion is None or found.distortion <= self.max_distortion * (1 + ROUNDING)

    def cost(self, found: Candidate) -> float:
        """What is minimised: seconds, bytes, joules, or distortion."""
        if self.objective == "energy":
            edge_w, up_w, down_w = self._watts()
            timing = found.predicted
            return edge_w * timing.edge_s + up_w * timing.uplink_s + down_w * timing.downlink_s
        return {
            "latency": found.predicted.total_s,
            "payload": float(found.payload_bytes),
            "memory": float(found.edge_memory_bytes),
            "distortion": found.distortion,
        }[self.objective]

    def _watts(self) -> tuple[float, float, float]:
        link = self.problem.link
        if self.edge_w is None or link.up_w is None or link.down_w is None:
            raise PlanError(
                f"energy needs the power of the edge (edge_w={self.edge_w}) and of the radio on link '{link.name}' "
                f"(up_w={link.up_w}, down_w={link.down_w}); give all three in watts"
            )
        return self.edge_w, link.up_w, link.down_w

    def total(self, model: CutModel, memory: Sum | None) -> Sum:
        """`cost`, as a sum of the model's variables."""
        if self.objective == "memory" and memory is not None:
            return memory
        if self.objective in ("payload", "distortion"):
            return model.payload if self.objective == "payload" else model.distortion
        edge_w, up_w, down_w = self._watts() if self.objective == "energy" else (1.0, 1.0, 1.0)
        total = Sum()
        for part, times in ((model.edge_s, edge_w), (model.uplink_s, up_w), (model.downlink_s, down_w)):
            total.add_all(part, times)
        if self.objective == "latency":
            total.add_all(model.cloud_s)
        return total

    def options(self) -> Choices:
        if self.width is not None:
            return float_choices(self.problem, self.width)
        by_memory = self.memory_bytes is not None or self.objective == "memory"
        return worthwhile(self.problem, choices(self.problem), by_memory, self.max_distortion)


@dataclass(frozen=True, slots=True)
class Found:
    """The best candidate of a search, None when there is none; and a bound that no candidate's cost is below."""

    candidate: Candidate | None
    bound: float


def search(question: Search) -> Found:
    """Answer the question, with storages as TVM plans them unless `live`. At most 2 * (1 + ROUNDS) programmes."""
    limit = question.memory_bytes
    first, bound = _solve(question, limit)
    best = first if first is not None and question.allows(first) else None
    if first is None or limit is None or question.live:
        return Found(best, bound)
    fits, too_much = 0.0, float(limit)
    tried: Candidate | None = first
    guess = too_much - _overhead(question, first)
    for _ in range(ROUNDS):
        if best is not None and (question.cost(best) <= bound * (1 + 1e-6) or too_much - fits < limit / 100):
            break
        tried, _bound = _solve(question, int(guess))
        if tried is None:
            fits = max(fits, guess)
            guess = (fits + too_much) / 2
        elif question.allows(tried):
            best = tried if best is None or question.cost(tried) < question.cost(best) else best
            fits = max(fits, guess)
            guess = (fits + too_much) / 2
        else:
            too_much = min(too_much, guess)
            guess = max(too_much - _overhead(question, tried), (fits + too_much) / 2 if best else fits)
    return Found(best, bound)


def _overhead(question: Search, found: Candidate) -> int:
    """Bytes by which the candidate is over its limit of memory."""
    return max(1, found.edge_memory_bytes - (question.memory_bytes or 0))


def _solve(question: Search, limit: int | None) -> tuple[Candidate | None, float]:
    """The best candidate with at most so many live bytes, and the programme's bound."""
    model = CutModel(question.problem, question.options())
    memory = add_memory(model) if limit is not None or question.objective == "memory" else None
    if memory is not None and limit is not None:
        unit = max(memory.terms.values(), default=1.0)
        scaled = Sum()
        scaled.add_all(memory, 1e3 / unit)
        model.programme.at_most(scaled, (limit + 0.25) * 1e3 / unit)
    most = question.max_distortion
    if most and model.distortion.terms:
        scaled = Sum()
        scaled.add_all(model.distortion, 1e3 / most)
        model.programme.at_most(scaled, 1e3)
    solution = model.programme.minimise(question.total(model, memory), {}, question.time_limit_s)
    if solution.values is None:
        return None, solution.bound
    found = question.price(model.cut(solution.values), model.bits(solution.values))
    if question.width is not None or question.objective == "distortion" or not model.distortion.terms:
        return found, solution.bound
    kept = [*model.on.values(), *model.integer.values(), *(way.variable for s in model.sent.values() for way in s)]
    again = model.programme.minimise(
        model.distortion, {v: float(round(solution.values[v])) for v in kept}, question.time_limit_s
    )
    if again.values is None:
        return found, solution.bound
    polished = question.price(model.cut(again.values), model.bits(again.values))
    better = question.cost(polished) <= question.cost(found) and polished.distortion <= found.distortion
    return (polished if better and (question.allows(polished) or not question.allows(found)) else found), solution.bound
