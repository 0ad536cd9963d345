"""The finalists for people: predicted beside measured, and where each number comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tvm_split.report import table
from tvm_split.units import capital, seconds

if TYPE_CHECKING:
    from tvm_split.comparison import Stage
    from tvm_split.finals import Final

SIDES = ("edge", "cloud")


def finals_table(finals: Sequence[Final]) -> Table:
    """A row for each finalist, the chosen one first: edge, cloud and total, predicted and timed; the total's error."""
    rows = []
    for i, final in enumerate(finals):
        stages = {stage.stage: stage for stage in final.stages}
        predicted, timed = final.scored.candidate.predicted.total_s, final.timing.total_s
        error = f"{round(100 * (predicted / timed - 1)):+d} %" if timed else ""
        rows.append((
            "->" if i == 0 else "", final.scored.label, *(text for side in SIDES for text in _pair(stages[side])),
            seconds(predicted), f"{seconds(timed)}{_within(final)}", error,
        ))  # fmt: skip
    columns = ("", "finalist", "edge predicted", "edge timed", "cloud predicted", "cloud timed", "total predicted",
               "total timed", "error")  # fmt: skip
    return table("Finalists, their halves timed whole", columns, rows, left=2)


def places(finals: Sequence[Final]) -> list[str]:
    """Where the stages' times come from, and what they do not tell, in sentences."""
    lines: dict[str, None] = {}
    for stage in (stage for final in finals for stage in final.stages):
        if not (stage.predicted_s or stage.measured_s) or not stage.measured_on:
            continue
        if stage.basis == "elsewhere":
            lines[f"{stage.stage}: as predicted for {stage.predicted_for}, which was not there to be timed."] = None
        elif stage.basis == "measured":
            lines[f"{stage.stage}: timed on {stage.measured_on}."] = None
        else:
            lines[f"{stage.stage}: computed from {stage.measured_on}."] = None
    from tvm_split.finals import alike  # imports TVM, which whoever has finals has

    near = alike(finals)
    if len(near) > 1:
        others = ", ".join(final.scored.label for final in near[1:])
        told = (
            f"by this clock {near[0].scored.label} is no sooner than {others}: they differ by no more than its errors."
        )
        lines[told] = None
    return [capital(line) for line in lines]


def _within(final: Final) -> str:
    """The standard error of what was timed, in words."""
    total = final.timing.total_s
    return f" ± {100 * final.error_s / total:.0f} %" if final.error_s and total else ""


def print_finals(finals: Sequence[Final], out: Console) -> None:
    out.print(finals_table(finals))
    for line in places(finals):
        out.print(line)


def _pair(stage: Stage) -> tuple[str, str]:
    if not (stage.predicted_s or stage.measured_s):
        return "", ""
    return seconds(stage.predicted_s), "" if stage.basis == "elsewhere" else seconds(stage.measured_s)
