"""The beginning of the tuning process: its stderr without what TVM says of every point that fits no schedule.

A search draws points that contradict each other, by design, and TVM writes a line for each of them. Those lines are
dropped by a process of their own between this one and the user's stderr, so that all else is seen, even what a crash
says last.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tvm_split.tune.lab import Lab

DROPPED = "Trace replay failed"
FILTER = f"""
import sys
for line in sys.stdin.buffer:
    if {DROPPED.encode()!r} not in line:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def begin(*args: Any) -> Lab:
    """The `Lab` of these arguments, in a process that has no other use."""
    drop_lines()
    return Lab(*args)


def drop_lines() -> None:
    """From now on, what this process and its children write to stderr comes out without lines that hold DROPPED."""
    kept = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", FILTER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert kept.stdin is not None
    os.dup2(kept.stdin.fileno(), 2)
    kept.stdin.close()  # stderr is the only way in: the filter ends with the last process that has it
