"""The tuning process's stderr: what TVM says of points that fit no schedule is dropped, all else comes through."""

import subprocess
import sys

CHILD = """
import os, subprocess, sys
from tvm_split.tune.child import DROPPED, drop_lines
drop_lines()
os.write(2, f"[1] utils.h:348: Warning: {DROPPED} with ScheduleError: (not rendered)\\nfirst\\n".encode())
subprocess.run([sys.executable, "-c", f"import os; os.write(2, b'{DROPPED}\\\\nof a child\\\\n')"])
os.write(2, b"last words")
os.abort()
"""


def test_only_lines_of_failed_replays_are_dropped_even_when_the_process_crashes():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120)
    assert done.returncode < 0
    assert done.stderr == "first\nof a child\nlast words"
