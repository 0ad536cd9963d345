"""What tuning asks of TVM that may crash, hang or eat memory: an object for a process of its own (bench/worker.py)."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import tirx

from tvm_split.errors import TuneError
from tvm_split.passes.schedule import FAILED, RULES, schedule
from tvm_split.tune.apply import by_trace, kernel_key, space_name
from tvm_split.tune.compare import Measured, compare, is_buildable, seconds_of
from tvm_split.tune.kernels import ArrayType, Kernel
from tvm_split.tune.measuring import Board, Builder, Place, runner
from tvm_split.tune.search import search
from tvm_split.tune.space import Start, space_of, start_of

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Parcel:
    """A kernel as it goes through a pipe."""

    function: str
    reads: tuple[np.ndarray | ArrayType, ...]
    writes: tuple[ArrayType, ...]

    @classmethod
    def of(cls, kernel: Kernel) -> Parcel:
        return cls(tvm.ir.save_json(kernel.function), kernel.reads, kernel.writes)


@dataclass(frozen=True)
class Cost:
    """seconds: of a call with our schedule. points: how many schedules there are to try, 0 where nothing varies.
    ours: hash of our schedule. space: names the space around it, which trials belong to."""

    seconds: float
    points: int
    ours: str
    space: str = ""


class Lab:
    """Made in the child from what can be sent there: the target as JSON, its architecture, a folder, and the board."""

    def __init__(self, target: dict[str, Any], arch: str, scratch: str, board: Board | None) -> None:
        _die_with_parent()
        # What TVM starts by `python -m` would take a clone in the current folder for the installed package.
        os.environ["PYTHONSAFEPATH"] = "1"
        self._cores = tuple(os.sched_getaffinity(0))  # before the first kernel, which may bind this process to one
        self._place = Place(tvm.target.Target(target), arch, Path(scratch), board)
        self._builder: Builder | None = None
        self._runner: Any = None

    def costs(self, parcels: Sequence[Parcel]) -> list[Cost]:
        """Time every kernel with our schedule, and count what there is to try."""
        target = self._place.target
        scheduled, points, hashes, spaces = [], [], [], []
        for parcel in parcels:
            function = tvm.ir.load_json(parcel.function)
            start = start_of(function, target)
            space = None if start is None else space_of(start)
            ours = schedule("main", function, target, RULES) if start is None else start.scheduled
            scheduled.append(ours)
            points.append(0 if space is None else space.size - 1)
            hashes.append(kernel_key(ours))
            spaces.append("" if start is None else space_name(start))
        times = seconds_of(scheduled, [(parcel.reads, parcel.writes) for parcel in parcels], self._place)
        return [Cost(*each) for each in zip(times, points, hashes, spaces, strict=True)]

    def search(self, parcel: Parcel, folder: str, trials: int, seed: int) -> None:
        """`search.search` in the space around our schedule."""
        start = self._start(parcel)
        space = space_of(start)
        if space is None:
            raise TuneError("there is nothing to vary in this kernel's schedule")
        os.sched_setaffinity(0, self._cores)  # else the search and its processes would share one core
        if self._builder is None:
            self._builder, self._runner = Builder(self._place, self._cores), runner(self._place, self._cores)
        target = self._place.target
        search(start.module, space.trace, target, Path(folder), trials, seed, self._builder, self._runner)

    def compare(self, parcel: Parcel, traces: Sequence[Any]) -> list[Measured]:
        """Our schedule, then that of each trace; one that fits no more, or that TVM cannot build, is unequal."""
        start = self._start(parcel)
        found: list[tirx.PrimFunc | None] = [start.scheduled, *(by_trace(start, trace) for trace in traces)]
        fitting = {i: function for i, function in enumerate(found) if function is not None}
        try:
            measured = compare([*fitting.values()], parcel.reads, parcel.writes, self._place)
        except FAILED:  # one that TVM cannot build must not lose the others
            fitting = {i: f for i, f in fitting.items() if i == 0 or is_buildable(f, self._place)}
            measured = compare([*fitting.values()], parcel.reads, parcel.writes, self._place)
        answers = [Measured(False, math.inf)] * len(found)
        for i, answer in zip(fitting, measured, strict=True):
            answers[i] = answer
        return answers

    def _start(self, parcel: Parcel) -> Start:
        start = start_of(tvm.ir.load_json(parcel.function), self._place.target)
        if start is None:
            raise TuneError("our schedule of this kernel cannot be repeated from its trace")
        return start


def _die_with_parent() -> None:
    """A tuner that is killed must not leave a search behind that goes on writing. Linux has a call for that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
