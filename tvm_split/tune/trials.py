"""The files of MetaSchedule's database of one kernel: trials read back, and mended after a process was killed.

One line of JSON each: `database_workload.json` holds [hash, module], `database_tuning_record.json` holds
[number of the workload, [trace, seconds of each repeat, target, arguments]]. A process that is killed while it writes
leaves half a line; MetaSchedule cannot open such a file, and would write its next line behind it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_split.profile.noise import Timed

WORKLOADS, RECORDS = "database_workload.json", "database_tuning_record.json"
#: MetaSchedule writes this many seconds for a trial that could not be built or run
FAILED_S = 1e9


@dataclass(frozen=True)
class Trial:
    """seconds: mean of the repeats; inf when it failed. workload: number of the module that the trace is for. spread:
    about how far off the repeats' median may be (profile.noise)."""

    workload: int
    trace: Any
    seconds: float
    spread: float = 0.0


def mend(folder: Path) -> int:
    """Drop what a killed process left half-written; how many lines that were."""
    workloads, lost = _mended(folder / WORKLOADS, lambda line: isinstance(line, list) and len(line) == 2)
    count = len(workloads)
    _, dropped = _mended(folder / RECORDS, lambda line: _is_record(line) and 0 <= line[0] < count)
    return lost + dropped


def read(folder: Path) -> list[Trial]:
    """Every trial in the order of its making; half-written lines are passed over."""
    lines, _ = _lines(folder / RECORDS, _is_record)
    found = []
    for line in lines:
        number, (trace, seconds, *_) = json.loads(line)
        mean = statistics.fmean(seconds) if seconds else math.inf
        worked = 0 < mean < FAILED_S
        spread = Timed.of(seconds).spread if worked and min(seconds) > 0 else 0.0
        found.append(Trial(number, trace, mean if worked else math.inf, spread))
    return found


def keep(folder: Path, count: int) -> None:
    """Forget all trials but the first `count`: those of a board that was gone say nothing of schedules."""
    lines, _ = _lines(folder / RECORDS, _is_record)
    _replace(folder / RECORDS, lines[:count])


def best(folder: Path, count: int) -> list[Trial]:
    """The `count` fastest trials that worked, no schedule twice."""
    found: dict[str, Trial] = {}
    for trial in sorted(read(folder), key=lambda trial: trial.seconds):
        if math.isfinite(trial.seconds):
            found.setdefault(json.dumps([trial.workload, trial.trace]), trial)
    return list(found.values())[:count]


def _is_record(line: Any) -> bool:
    return isinstance(line, list) and len(line) == 2 and isinstance(line[1], list) and len(line[1]) == 4


def _lines(path: Path, good: Callable[[Any], bool]) -> tuple[list[str], int]:
    """The good lines, and how many others there are. MetaSchedule escapes all but ASCII."""
    kept, lost = [], 0
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                right = good(json.loads(line))
            except ValueError:
                right = False
            if right:
                kept.append(line)
            elif line.strip():
                lost += 1
    return kept, lost


def _mended(path: Path, good: Callable[[Any], bool]) -> tuple[list[str], int]:
    kept, lost = _lines(path, good)
    if lost or (path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")):
        _replace(path, kept)
    return kept, lost


def _replace(path: Path, lines: list[str]) -> None:
    scratch = path.with_suffix(".mended")
    scratch.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    scratch.replace(path)
