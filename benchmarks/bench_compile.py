"""What `tvm-split compile` takes: seconds for EfficientNet-Lite0, and peak memory for VGG-19.

    pytest benchmarks/bench_compile.py --benchmark-json=benchmarks/results/compile.json

Each is one run of the command with its default settings, untuned, in a process of its own; VGG-19 is checked on one
sample. Memory is the larger of two figures: the kernel's own for the largest process, and the sum over the process and
its children, looked at every 50 ms, which counts shared pages more than once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tvm_split import zoo

LOOK_S = 0.05


@dataclass
class Used:
    """Of one command: exit status, bytes resident at the most, of the largest process and of all at once."""

    status: int = 0
    largest_bytes: int = 0
    together_bytes: int = 0


def run(command: list[str], log: Path) -> Used:
    used = Used()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    family = psutil.Process(process.pid)
    while True:
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes = [part.memory_info().rss for part in (family, *family.children(recursive=True))]
            used.together_bytes = max(used.together_bytes, sum(sizes))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = used.status = os.waitstatus_to_exitcode(status)
            used.largest_bytes = usage.ru_maxrss * 1024
            return used
        time.sleep(LOOK_S)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("network", "options", "limit"),
    [("efficientnet-lite0", [], "at most 60 s on two cores"), ("vgg19", ["--samples", "1"], "at most 6 GB")],
    ids=["efficientnet-lite0", "vgg19"],
)
def test_compile(
    benchmark: Any, tell: Callable[[str], None], tmp_path: Path, network: str, options: list[str], limit: str
) -> None:
    zoo.fetch(network)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tvm_split.cli", "compile", f"zoo:{network}", "-o", str(tmp_path / "bundle")]
    used = benchmark.pedantic(run, ([*command, *options], log), rounds=1)
    assert used.status == 0, log.read_text()
    peak = max(used.largest_bytes, used.together_bytes)
    benchmark.extra_info |= {"options": options, "peak_bytes": peak, "largest_process_bytes": used.largest_bytes,
                             "processes_together_bytes": used.together_bytes}  # fmt: skip
    seconds = f"{benchmark.stats['max']:.1f} s, " if benchmark.stats else ""
    tell(f"compile {' '.join([network, *options])}: {seconds}{peak / 1e9:.2f} GB at the most   ({limit})")
