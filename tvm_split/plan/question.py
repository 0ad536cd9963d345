"""What is asked of the integer programme: the best cut with an edge, best in what, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tvm_split.errors import PlanError
from tvm_split.plan.choices import Choices, choices, float_choices, worthwhile
from tvm_split.plan.cut_model import CutModel
from tvm_split.plan.energy import Watts, joules, watts_of
from tvm_split.plan.evaluate import Storages, alive, as_planned, evaluate
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.programme import Sum

Objective = Literal["latency", "payload", "energy", "memory", "distortion"]

#: seconds that HiGHS may take for the first programme; others take a quarter. When they are up, its answer depends on
#: the machine
TIME_LIMIT_S = 1.0
#: a distortion above its limit by this share is rounding
ROUNDING = 1e-9


@dataclass(frozen=True)
class Question:
    """The best cut with at least one edge layer.

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

    def price(self, edge: frozenset[str], bits: Bits, storages: Storages | None = None) -> Candidate:
        storages = storages or (alive if self.live else as_planned)
        if self.width is not None:
            return evaluate(self.problem, edge, self.width, storages)
        return evaluate_mixed(self.problem, edge, bits, storages)

    def allows(self, found: Candidate) -> bool:
        """Whether the candidate keeps both limits; cloud-only keeps that on memory."""
        if self.memory_bytes is not None and found.edge_layers and found.edge_memory_bytes > self.memory_bytes:
            return False
        return self.max_distortion is None or found.distortion <= self.max_distortion * (1 + ROUNDING)

    def narrowest(self) -> Bits:
        """Fewest bits of all that may be chosen."""
        found = self.options()
        parts = (found.weights, found.held, found.crossing)
        return Bits(*({name: widths[0] for name, widths in part.items() if widths} for part in parts))

    def beyond_alive(self, found: Candidate, bits: Bits) -> int:
        """Bytes that the candidate's storages, as TVM plans them, take beyond what is alive."""
        least = self.price(frozenset(found.edge_layers), bits, alive)
        return found.edge_memory_bytes - least.edge_memory_bytes

    def cost(self, found: Candidate) -> float:
        """What is minimised: seconds, bytes, joules, or distortion."""
        if self.objective == "energy":
            return joules(found.predicted, self._watts())
        return {
            "latency": found.predicted.total_s,
            "payload": float(found.payload_bytes),
            "memory": float(found.edge_memory_bytes),
            "distortion": found.distortion,
        }[self.objective]

    def _watts(self) -> Watts:
        link = self.problem.link
        watts = watts_of(link, self.edge_w)
        if watts is None:
            raise PlanError(
                f"energy needs the power of the edge (edge_w={self.edge_w}) and of the radio on link '{link.name}' "
                f"(up_w={link.up_w}, down_w={link.down_w}); give all three in watts"
            )
        return watts

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
