"""What stands beside a plan's table: its front, all that the planner answered, why another objective chose as it did,
and what the cloud's load does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from tvm_split.plan.energy import joules
from tvm_split.plan.problem import Candidate
from tvm_split.profile.queueing import waiting_factor
from tvm_split.units import energy, seconds, size

if TYPE_CHECKING:
    from tvm_split.choice import Scored
    from tvm_split.workflow import PlanResult

Joules = Callable[[Candidate], float]
WANTED = {"energy": "least energy of the edge", "payload": "fewest bytes sent"}


def lists(result: PlanResult) -> Iterator[Table]:
    """The front and the solution list, where the request asked for them."""
    if result.front:
        yield answers_table(f"Soonest answers for less {result.request.pareto}, as predicted", result.front)
    if result.solutions:
        yield answers_table(f"All that {result.request.strategy} answers, as predicted", result.solutions)


def answers_table(title: str, found: Sequence[Scored]) -> Table:
    """Time, payload, memory and distortion of each. Cloud-only takes no memory that counts."""
    from tvm_split.report import table

    rows = []
    for item in found:
        candidate, gap = item.candidate, item.candidate.gap
        proven = "" if gap is None else "best" if gap == 0 else f"{gap:.1%}"
        memory = size(candidate.edge_memory_bytes) if candidate.edge_layers else "0 B"
        rows.append((item.label, seconds(candidate.predicted.total_s), size(candidate.payload_bytes), memory,
                     f"{candidate.distortion:.3g}", proven))  # fmt: skip
    return table(title, ("answer", "total", "payload", "edge memory", "distortion", "gap"), rows)


def objective_reason(result: PlanResult) -> str:
    """Which answer was chosen, and of what it has least."""
    chosen, objective = result.chosen, result.request.objective
    sent = size(chosen.candidate.payload_bytes)
    total, taken = seconds(chosen.candidate.predicted.total_s), joules_of(result)
    used = f"{total} and {energy(taken(chosen.candidate))}" if taken else total
    return (
        f"Chosen: {chosen.label}, which takes {used} and sends {sent}: the {WANTED[objective]} of all answers that "
        f"memory, pins and accuracy allow.{_counted(result)}"
    )


def load_line(result: PlanResult) -> str:
    """What the cloud's load does to its times; "" when it is idle."""
    load = result.request.cloud_load
    if not load:
        return ""
    return (
        f"The cloud is busy with others {load:.3g} of the time: its times are {waiting_factor(load):.3g} times those "
        "of computing, with the mean waiting for it."
    )


def joules_of(result: PlanResult) -> Joules | None:
    """Energy of an answer as predicted; None where the plan is not for energy."""
    watts = result.watts if result.request.objective == "energy" else None
    return None if watts is None else lambda candidate: joules(candidate.predicted, watts)


def _counted(result: PlanResult) -> str:
    """What the energy is of."""
    if result.request.objective != "energy" or result.watts is None:
        return ""
    edge_w, up_w, down_w = result.watts
    return (
        f" Energy is what the edge draws beyond idle: {edge_w:.3g} W computing, {up_w:.3g} W sending, {down_w:.3g} W "
        "receiving; waiting for the cloud adds none."
    )
