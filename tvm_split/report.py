"""Plans for people: tables and sentences. Only here and in the other report files are ms, MB and Mbit/s."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tvm_split import report_accuracy
from tvm_split.labels import label_of
from tvm_split.plan.evaluate import identity
from tvm_split.plan.problem import Timing
from tvm_split.report_fronts import bandwidths_title, interval_line, load_line
from tvm_split.report_reason import reason
from tvm_split.units import joules, rate, seconds, size

if TYPE_CHECKING:
    from tvm_split.choice import Scored
    from tvm_split.workflow import PlanResult

#: columns when the output is no terminal: nothing is cut off there
PLAIN_WIDTH = 200
STAGES = ("edge", "uplink", "cloud", "downlink", "total")


def console(file: TextIO | None = None) -> Console:
    """Where reports go: colour and the real width on a terminal, plain wide text in a pipe or a file."""
    file = file or sys.stdout
    width = None if file.isatty() else PLAIN_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: int = 1) -> Table:
    """A table whose first `left` columns are words and the others numbers."""
    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < left else "right", no_wrap=i >= left, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def answers(result: PlanResult, top: int = 10) -> Table:
    """The candidates soonest first: every answer without a split, every baseline, the chosen one, and the `top` soonest
    splits.

    The chosen one is marked "->", those that do not fit the memory or lose too much accuracy "x", baselines "=", those
    of them that do not fit "= x".
    """
    splits = [scored for scored in result.candidates if scored.candidate.kind == "split" and not scored.baseline]
    left_out = {id(scored) for scored in splits[top:]} - {id(result.chosen)}
    accuracy = report_accuracy.columns(result.candidates)
    rows = [_row(scored, result, accuracy) for scored in result.candidates if id(scored) not in left_out]
    link, request = result.problem.link, result.request
    title = f"{result.graph.name}: {request.edge} -> {request.cloud} over {link.name} ({rate(link.up_bytes_per_s)} up)"
    energy = ("edge energy",) if request.objective == "energy" else ()
    return table(title, ("", "answer", *STAGES, "payload", "edge memory", *energy, *accuracy), rows, left=2)


def print_plan(result: PlanResult, out: Console, top: int = 10) -> None:
    """Everything that is said of a plan: `answers`, what they were checked on, the reason, the interval of its time,
    the soonest answer by uplink rate."""
    out.print(answers(result, top))
    if line := load_line(result):
        out.print(line)
    if any(scored.baseline for scored in result.candidates):
        over = any(scored.baseline and not scored.fits for scored in result.candidates)
        note = " x: over the memory that you allow." if over else ""
        out.print(f"= is a baseline: compared with, never chosen.{note}")
    if any(scored.accuracy is not None for scored in result.candidates):
        out.print(f"Accuracy: {_checked_on(result)}.")
    out.print(reason(result))
    if line := interval_line(result):
        out.print(line)
    if quantisers := result.quantised[result.chosen.candidate].line():
        out.print(quantisers)
    if result.spans:
        out.print(f"\n{bandwidths_title(result.request.objective)}")
        for line in bandwidths(result):
            out.print(f"  {line}")


def plan_text(result: PlanResult) -> str:
    """`print_plan` as plain text."""
    buffer = io.StringIO()
    print_plan(result, console(buffer))
    return buffer.getvalue()


def _row(scored: Scored, result: PlanResult, accuracy: report_accuracy.Columns) -> list[Text]:
    candidate, chosen = scored.candidate, scored is result.chosen
    refused = not result.request.tolerance.allows(scored)
    mark, style = ("->", "bold green") if chosen else ("x", "dim") if refused else ("", "")
    if scored.baseline:
        mark, style = "=" if scored.fits else "= x", "cyan"
    cells = [mark, scored.label, *map(seconds, _stages(candidate.predicted))]
    cells += [size(candidate.payload_bytes), size(candidate.edge_memory_bytes)]
    if result.request.objective == "energy":
        cells.append(joules(result.energy_j(candidate)))
    cells += [cell(scored) for cell in accuracy.values()]
    return [Text(cell, style=style) for cell in cells]


def _checked_on(result: PlanResult) -> str:
    """On which samples accuracy was measured."""
    if not result.calibrating:
        return "on the one sample that calibrated"
    return f"on {result.checking} samples held back; {result.calibrating} others calibrated"


def _stages(timing: Timing) -> tuple[float, ...]:
    return timing.edge_s, timing.uplink_s, timing.cloud_s, timing.downlink_s, timing.total_s


def bandwidths(result: PlanResult) -> list[str]:
    """One line a range of uplink rates: which answer is the soonest there. Neighbours with one answer are one line."""
    merged: list[tuple[float, float, str]] = []
    labels = {identity(scored.candidate): scored.label for scored in result.candidates if not scored.baseline}
    for span in result.spans:
        label = labels.get(identity(span.candidate)) or label_of(span.candidate)
        if merged and merged[-1][2] == label:
            merged[-1] = (merged[-1][0], span.high_bytes_per_s, label)
        else:
            merged.append((span.low_bytes_per_s, span.high_bytes_per_s, label))
    if len(merged) == 1:
        low, high, label = merged[0]
        return [f"at every uplink rate from {rate(low)} to {rate(high)}: {label}"]
    lines = []
    for i, (low, high, label) in enumerate(merged):
        where = f"{rate(low)} to {rate(high)}"
        if i in (0, len(merged) - 1):
            where = f"below {rate(high)}" if i == 0 else f"above {rate(low)}"
        lines.append(f"{where}: {label}")
    return lines
