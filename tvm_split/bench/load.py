"""How busy other processes keep the cores that are measured on: what disturbs every figure of a bench. No TVM.

Linux counts in /proc/stat what each core did, in ticks, for all processes together and for other virtual machines
("steal"). The processes of this bench are idle while it is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

STAT = Path("/proc/stat")
#: length of one look: 50 ticks
WINDOW_S = 0.5
#: of one core; less is what any system does
QUIET = 0.15
#: columns of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already
IDLE, COLUMNS = (3, 4), 8


def others(cores: Collection[int], window_s: float = WINDOW_S) -> float | None:
    """How many of these cores others keep busy while this process sleeps; None where Linux tells nothing."""
    before = _read()
    time.sleep(window_s)
    return None if before is None else busy(before, _read() or before, cores, window_s)


def busy(before: str, after: str, cores: Collection[int], window_s: float) -> float:
    """The same from two texts of /proc/stat, `window_s` apart."""
    first, second = (_ticks(text, cores) for text in (before, after))
    return max(0, second - first) / (os.sysconf("SC_CLK_TCK") * window_s)


def warnings(found: float | None, cores: int) -> list[str]:
    """What to say of so many busy cores; nothing of a quiet machine."""
    if found is None or found < QUIET:
        return []
    return [
        f"other processes keep {found:.1f} of {cores} cores busy, so times, the measured limits and shares of them "
        "vary from run to run; stop those processes, or trust only ratios, with more --repeats and fewer --threads"
    ]


def _ticks(text: str, cores: Collection[int]) -> int:
    """Ticks in which these cores were not idle."""
    wanted, total = {f"cpu{core}" for core in cores}, 0
    for name, *numbers in (line.split() for line in text.splitlines() if line.startswith("cpu")):
        if name in wanted:
            total += sum(int(number) for i, number in enumerate(numbers[:COLUMNS]) if i not in IDLE)
    return total


def _read() -> str | None:
    try:
        return STAT.read_text()
    except OSError:
        return None
