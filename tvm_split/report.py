"""Results for people: tables and sentences. The only place with ms, MB and Mbit/s."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tvm_split.choice import label_of
from tvm_split.plan.problem import Candidate, Timing

if TYPE_CHECKING:
    import numpy as np

    from tvm_split.choice import Scored
    from tvm_split.workflow import PlanResult

#: columns when the output is no terminal: nothing is cut off there
PLAIN_WIDTH = 160
STAGES = ("edge", "uplink", "cloud", "downlink", "total")


def console(file: TextIO | None = None) -> Console:
    """Where reports go: colour and the real width on a terminal, plain wide text in a pipe or a file."""
    file = file or sys.stdout
    width = None if file.isatty() else PLAIN_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False)


def seconds(value: float) -> str:
    """A time with three digits: 850 us, 8.12 ms, 812 ms, 3.25 s."""
    if value >= 0.9995:
        return f"{value:.3g} s" if value < 999.5 else f"{value:.0f} s"
    if value >= 0.9995e-3 or value == 0:
        return f"{value * 1e3:.3g} ms"
    return f"{value * 1e6:.3g} us"


def size(value: float) -> str:
    """A size with three digits, 1 KB = 1000 bytes: 999 B, 38.4 KB, 3.21 MB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= limit * 0.9995:
            return f"{value / limit:.3g} {unit}" if value < limit * 999.5 else f"{value / limit:.0f} {unit}"
    return f"{value:.0f} B"


def rate(bytes_per_s: float) -> str:
    """A link's rate in bits: 50 kbit/s, 5.85 Mbit/s, 1 Gbit/s."""
    bits = bytes_per_s * 8
    for limit, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= limit * 0.9995:
            return f"{bits / limit:.3g} {unit}"
    return f"{bits:.3g} bit/s"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: int = 1) -> Table:
    """A table whose first `left` columns are words and the others numbers."""
    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < left else "right", no_wrap=i >= left, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def answers(result: PlanResult, top: int = 10) -> Table:
    """The candidates soonest first: every answer without a split, the chosen one, and the `top` soonest splits."""
    splits = [scored for scored in result.candidates if scored.candidate.kind == "split"]
    left_out = {id(scored) for scored in splits[top:]} - {id(result.chosen)}
    rows = [_row(scored, scored is result.chosen) for scored in result.candidates if id(scored) not in left_out]
    link, request = result.problem.link, result.request
    title = f"{result.graph.name}: {request.edge} -> {request.cloud} over {link.name} ({rate(link.up_bytes_per_s)} up)"
    return table(title, ("", "answer", *STAGES, "payload", "edge memory", "top-1 agreement"), rows, left=2)


def _row(scored: Scored, chosen: bool) -> list[Text]:
    candidate = scored.candidate
    cells = ["->" if chosen else "", scored.label, *map(seconds, _stages(candidate.predicted))]
    cells += [size(candidate.payload_bytes), size(candidate.edge_memory_bytes), agreement(scored)]
    return [Text(cell, style="bold green" if chosen else "") for cell in cells]


def agreement(scored: Scored) -> str:
    """Share of samples with the float network's first class; "exact" when its outputs are the float network's."""
    if scored.accuracy is None or scored.accuracy.max_abs_error == 0:
        return "exact"
    if scored.accuracy.top1_agreement is None:
        return f"error {scored.accuracy.relative_error:.2g}"
    return f"{scored.accuracy.top1_agreement * 100:.3g} %"


def _stages(timing: Timing) -> tuple[float, ...]:
    return timing.edge_s, timing.uplink_s, timing.cloud_s, timing.downlink_s, timing.total_s


def reason(result: PlanResult) -> str:
    """Which answer was chosen and why, in one sentence; a second one when sooner splits lost too much accuracy."""
    chosen = result.chosen
    total = seconds(chosen.candidate.predicted.total_s)
    split = chosen.candidate.kind == "split"
    rivals = [s for s in result.candidates if (s.candidate.kind == "split") != split]
    if not split:
        rivals += [s for s in result.candidates if s.candidate.kind not in ("split", chosen.candidate.kind)]
    rivals = [s for s in rivals if s.candidate.predicted.total_s >= chosen.candidate.predicted.total_s]
    verdict = (
        f"Chosen: {chosen.label}: {total}" if split else f"Chosen: do not split. {_capital(chosen.label)}: {total}"
    )
    if not rivals:
        sentence = f"{verdict}; nothing else that memory, pins and accuracy allow is there to compare."
    else:
        rival = min(rivals, key=lambda s: s.candidate.predicted.total_s)
        ratio = rival.candidate.predicted.total_s / max(chosen.candidate.predicted.total_s, 1e-12)
        lead = f"{ratio:.3g}x sooner than" if ratio >= 1.05 else "barely sooner than"
        sentence = f"{verdict}, {lead} {rival.label}, because {_because(chosen.candidate, rival.candidate)}."
    faster = [s for s in result.candidates if s.candidate.predicted.total_s < chosen.candidate.predicted.total_s]
    if faster:
        best = min(faster, key=lambda s: s.candidate.predicted.total_s)
        total = seconds(best.candidate.predicted.total_s)
        sentence += f" {_capital(best.label)} would take {total}, but {_worse(best, result)}."
    return sentence


def _worse(scored: Scored, result: PlanResult) -> str:
    """Why a sooner answer was passed over."""
    if scored.accuracy is not None and scored.accuracy.top1_agreement is None:
        return f"its outputs differ too much from the float network's ({agreement(scored)})"
    allowed = f"{result.request.min_agreement * 100:.3g} %"
    return f"its agreement with the float network ({agreement(scored)}) is below what you allow ({allowed})"


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
    for span in result.spans:
        label = label_of(span.candidate)
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


def comparison(predicted: Timing, measured: Timing) -> Table:
    """Each stage as predicted and as measured, with the prediction's error in percent of the measured time."""
    rows = [
        (stage, seconds(guess), seconds(real), _error(guess, real))
        for stage, guess, real in zip(STAGES, _stages(predicted), _stages(measured), strict=True)
    ]
    return table("predicted beside measured", ("stage", "predicted", "measured", "error"), rows)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _error(guess: float, real: float) -> str:
    """In percent, or as a factor where percent would say little; nothing where nothing was measured."""
    if real <= 0:
        return ""
    return f"{round((guess - real) / real * 100):+d} %" if guess < 10 * real else f"{guess / real:.0f}x"


def top_classes(array: np.ndarray, count: int = 5) -> list[dict[str, float | int]] | None:
    """Index and score of the largest elements when the array is one row of at least ten scores; None otherwise."""
    if array.dtype.kind not in "fiu" or array.ndim == 0 or array.size != array.shape[-1] or array.size < 10:
        return None
    row = array.reshape(-1)
    order = row.argsort(kind="stable")[::-1][:count]
    return [{"class": int(i), "score": float(row[i])} for i in order]


def output_line(name: str, array: np.ndarray) -> str:
    """An output in one line: its best classes, or its range."""
    shape = "x".join(map(str, array.shape)) or "scalar"
    best = top_classes(array)
    if best is not None:
        listed = ", ".join(f"{item['class']} ({item['score']:.4g})" for item in best)
        return f"{name} {array.dtype} {shape}: top-5 classes by index (score): {listed}"
    if array.size == 0:
        return f"{name} {array.dtype} {shape}: empty"
    return f"{name} {array.dtype} {shape}: {array.min():.4g} to {array.max():.4g}, mean {array.mean():.4g}"


def check_line(check: Mapping[str, Any]) -> str:
    """One tensor from the board beside the same from this machine's twin."""
    same = f"{check['tensor']} at {check['bits']} bits: "
    if not check["differing"]:
        return same + f"all {check['elements']} elements equal the twin's"
    unit = "quantisation steps" if check["unit"] == "steps" else "in value"
    largest = check["max_difference"]
    by = "some are not finite" if largest is None else f"by at most {largest:.4g} {unit}"
    return f"{same}{check['differing']} of {check['elements']} elements differ from the twin's, {by}"
