"""Lists beside a plan's table: its front, all that the planner answered, and why another objective chose as it did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from tvm_split.units import seconds, size

if TYPE_CHECKING:
    from tvm_split.choice import Scored
    from tvm_split.workflow import PlanResult

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
    total = seconds(chosen.candidate.predicted.total_s)
    return (
        f"Chosen: {chosen.label}, which takes {total} and sends {sent}: the {WANTED[objective]} of all answers that "
        "memory, pins and accuracy allow."
    )
