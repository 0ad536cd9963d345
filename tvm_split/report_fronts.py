"""What stands beside a plan's table: its front, all that the planner answered, why another objective chose as it did,
how far off its time may be, and what the cloud's load does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from tvm_split.plan.energy import watts_of
from tvm_split.profile.queueing import waiting_factor
from tvm_split.units import joules, seconds, size

if TYPE_CHECKING:
    from tvm_split.choice import Scored
    from tvm_split.plan.problem import Candidate
    from tvm_split.workflow import PlanResult

WANTED = {"energy": "least energy of the edge", "payload": "fewest bytes sent"}


def lists(result: PlanResult) -> Iterator[Table]:
    """The front and the solution list, where the request asked for them."""
    energy = result.energy_j if result.request.objective == "energy" else None
    if result.front:
        yield answers_table(_front_title(result), result.front, energy)
    if result.solutions:
        yield answers_table(f"All that {result.request.strategy} answers, as predicted", result.solutions, energy)


def answers_table(
    title: str, found: Sequence[Scored], energy_j: Callable[[Candidate], float | None] | None = None
) -> Table:
    """Time, payload, memory and distortion of each, and its joules if asked for."""
    from tvm_split.report import table

    rows = []
    for item in found:
        candidate, gap = item.candidate, item.candidate.gap
        proven = "" if gap is None else "best" if gap == 0 else f"{gap:.1%}"
        memory = size(candidate.edge_memory_bytes)
        energy = () if energy_j is None else (joules(energy_j(candidate)),)
        rows.append((item.label, seconds(candidate.predicted.total_s), size(candidate.payload_bytes), memory, *energy,
                     f"{candidate.distortion:.3g}", proven))  # fmt: skip
    heading = () if energy_j is None else ("edge energy",)
    return table(title, ("answer", "total", "payload", "edge memory", *heading, "distortion", "gap"), rows)


def _front_title(result: PlanResult) -> str:
    title = f"Soonest answers for less {result.request.pareto}, as predicted"
    if not result.front_is_whole:
        title += "; sampled: there may be others between them"
    if result.request.pareto == "memory" and not result.front[-1].candidate.edge_layers:
        title += "; cloud-only is within every limit (--memory)"
    return title


def objective_reason(result: PlanResult) -> str:
    """Which answer was chosen, and of what it has least."""
    chosen, objective = result.chosen, result.request.objective
    takes = seconds(chosen.candidate.predicted.total_s)
    if objective == "energy":
        takes += f" and {joules(result.energy_j(chosen.candidate))} of the edge"
    return (
        f"Chosen: {chosen.label}, which takes {takes} and sends {size(chosen.candidate.payload_bytes)}: the "
        f"{WANTED[objective]} of all answers that memory, pins and accuracy allow.{_counted(result)}"
    )


def interval_line(result: PlanResult) -> str:
    """How long the chosen answer may take, by the intervals of its layers' predicted times; "" where they have none."""
    interval = result.interval
    if interval is None:
        return ""
    return (
        f"Predicted to take {seconds(result.chosen.candidate.predicted.total_s)}; may take from "
        f"{seconds(interval.low_s)} to {seconds(interval.high_s)}, by what predicted layers are known to be off (all "
        "alike; the link as it is)."
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


def _counted(result: PlanResult) -> str:
    """What the energy is of."""
    watts = watts_of(result.edge_w, result.problem.link) if result.request.objective == "energy" else None
    if watts is None:
        return ""
    return (
        f" Energy is what the edge draws beyond idle: {watts.edge:.3g} W computing, {watts.up:.3g} W sending, "
        f"{watts.down:.3g} W receiving; waiting for the cloud adds none."
    )


def bandwidths_title(objective: str) -> str:
    """What stands above the answers by uplink rate: they are ranked by their time, whatever was asked for."""
    if objective == "latency":
        return "Best answer by uplink rate, as predicted:"
    return f"Soonest answer by uplink rate, as predicted, whatever its {objective}:"
