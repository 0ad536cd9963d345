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
from tvm_split.choice import in_order, loss, same
from tvm_split.labels import label_of
from tvm_split.plan.evaluate import identity
from tvm_split.plan.problem import ROUNDING, Candidate, Timing
from tvm_split.report_fronts import bandwidths_title, interval_line, load_line, objective_reason
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


def reason(result: PlanResult) -> str:
    """Which answer was chosen and why, in one sentence; a second one when sooner splits lost too much accuracy."""
    if result.request.objective != "latency":
        return objective_reason(result)
    chosen = result.chosen
    total = seconds(chosen.candidate.predicted.total_s)
    split = chosen.candidate.kind == "split"
    rivals = [
        s
        for s in result.candidates
        if (s.candidate.kind != "split" if split else s.label != chosen.label) and result.request.tolerance.allows(s)
    ]
    verdict = f"Chosen: {chosen.label}: {total}" if split else f"Chosen: do not split. {capital(chosen.label)}: {total}"
    if not rivals:
        sentence = f"{verdict}; nothing else that memory, pins and accuracy allow is there to compare."
    else:
        rival = in_order(rivals)[0]
        ratio = rival.candidate.predicted.total_s / max(chosen.candidate.predicted.total_s, 1e-12)
        lead = f"{ratio:.3g}x sooner than" if ratio >= 1.05 else "barely sooner than"
        sentence = f"{verdict}, {lead} {rival.label}, because {_because(chosen.candidate, rival.candidate)}."
        if same(chosen.candidate.predicted.total_s, rival.candidate.predicted.total_s):
            sentence = f"{verdict}, as soon as {rival.label}, {_among_equals(chosen, rival)}."
    least = chosen.candidate.predicted.total_s * (1 - ROUNDING)
    faster = [s for s in result.candidates if not s.baseline and s.candidate.predicted.total_s < least]
    if faster:
        best = min(faster, key=lambda s: s.candidate.predicted.total_s)
        total = seconds(best.candidate.predicted.total_s)
        sentence += f" {capital(best.label)} would take {total}, but {_worse(best, result)}."
    return sentence


def _worse(scored: Scored, result: PlanResult) -> str:
    """Why a sooner answer was passed over."""
    if not scored.fits:
        needed, limit = size(scored.candidate.edge_memory_bytes), size(result.problem.memory_bytes or 0)
        return f"it takes {needed} of edge memory, and you allow {limit}"
    return report_accuracy.refusal(scored, result.request.tolerance)


def _among_equals(chosen: Scored, rival: Scored) -> str:
    """Why the first of two that take equally long was chosen."""
    if loss(chosen) < loss(rival):
        return "and loses less"
    if loss(chosen) > loss(rival):  # by the clock it was sooner (--measure)
        return "although it loses more"
    if chosen.candidate.distortion < rival.candidate.distortion:
        return "and distorts less"
    if chosen.candidate.edge_memory_bytes < rival.candidate.edge_memory_bytes:
        return "and takes less memory"
    return "and as good in all else"


def _because(chosen: Candidate, rival: Candidate) -> str:
    """The stage in which the chosen answer gains most on the rival."""
    won, lost = chosen.predicted, rival.predicted
    gains = {
        "uplink": lost.uplink_s - won.uplink_s,
        "edge": lost.edge_s - won.edge_s,
        "cloud": lost.cloud_s - won.cloud_s,
        "downlink": lost.downlink_s - won.downlink_s,
    }
    stage = max(gains, key=lambda name: gains[name])
    if gains[stage] <= 0:
        return "nothing takes longer"
    if stage == "uplink":
        sent = size(chosen.payload_bytes) if chosen.payload_bytes else "nothing"
        return f"it sends {sent} instead of {size(rival.payload_bytes)}"
    if stage == "downlink":
        return "no result has to come back over the link"
    times = {"edge": (won.edge_s, lost.edge_s), "cloud": (won.cloud_s, lost.cloud_s)}[stage]
    return f"the {stage} computes for {seconds(times[0])} instead of {seconds(times[1])}"


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


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
