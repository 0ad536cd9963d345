"""How a trial of MetaSchedule's is built and timed: in processes that may crash or hang, here or on a board.

MetaSchedule's own builder begins a process for every batch, which takes longer than to build it: this one keeps its
process. And it links, as a half is linked: MetaSchedule's own way has the board link, which needs a compiler there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.support.popen_pool import PopenPoolExecutor

from tvm_split.errors import last_line
from tvm_split.linker import find_linker
from tvm_split.passes.schedule import finished
from tvm_split.profile.tracker import address_of
from tvm_split.runtime.executor import use_threads

#: seconds after which a trial has lost: to build it (and to begin the process for it), to run it, to run it on a board
BUILD_S, RUN_S, BOARD_S = 60, 20, 60
#: a trial is the mean of this many repeats of at least so long
REPEATS, REPEAT_MS = 3, 10
#: TVM leaks a little for each module that it builds
BUILDS_A_PROCESS = 256


@dataclass(frozen=True)
class Board:
    """Boards of a tracker (HOST:PORT) that answer to a key."""

    tracker: str
    key: str


@dataclass(frozen=True)
class Place:
    """What is built for and where it is timed: on a board, or on this machine. `scratch` holds what is built."""

    target: tvm.target.Target
    arch: str
    scratch: Path
    board: Board | None = None


@derived_object
class Builder(ms.builder.PyBuilder):
    """One module after the other."""

    def __init__(self, place: Place, cores: Sequence[int]) -> None:
        super().__init__()
        self._place = place
        self._pool = PopenPoolExecutor(
            max_workers=1, timeout=BUILD_S, initializer=_use_cores, initargs=(tuple(cores),),
            maximum_process_uses=BUILDS_A_PROCESS,
        )  # fmt: skip

    def build(self, build_inputs: Sequence[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        return [self._built(each.mod) for each in build_inputs]

    def _built(self, module: tvm.IRModule) -> ms.builder.BuilderResult:
        place = self._place
        try:
            done = self._pool.submit(_build, module, place.target, place.arch, str(place.scratch))
            return ms.builder.BuilderResult(done.result(), None)
        except TimeoutError:
            return ms.builder.BuilderResult(None, f"building took longer than {BUILD_S} s")
        except Exception as error:  # whatever the process raises, or that it died
            return ms.builder.BuilderResult(None, last_line(error))


def _build(module: tvm.IRModule, target: tvm.target.Target, arch: str, scratch: str) -> str:
    path = Path(tempfile.mkdtemp(dir=scratch)) / "trial.so"  # MetaSchedule removes the folder when it was run
    module = tvm.IRModule({name: finished(function, target) for name, function in module.functions_items()})
    tvm.compile(module, target).export_library(str(path), fcompile=find_linker(arch))
    return str(path)


def _use_cores(cores: Sequence[int]) -> None:
    """A process begun by one whose TVM has bound it to a core would stay on that core."""
    os.sched_setaffinity(0, cores)


def runner(place: Place, cores: Sequence[int]) -> ms.runner.PyRunner:
    """Times trials on this machine with all of `cores`, or on the board."""
    config = ms.runner.EvaluatorConfig(number=1, repeat=REPEATS, min_repeat_ms=REPEAT_MS)
    if place.board is None:
        return ms.runner.LocalRunner(timeout_sec=RUN_S, evaluator_config=config, initializer=_Start(tuple(cores)))
    host, port = address_of(place.board.tracker)
    rpc = ms.runner.RPCConfig(
        tracker_host=host, tracker_port=port, tracker_key=place.board.key, session_timeout_sec=BOARD_S
    )
    return ms.runner.RPCRunner(rpc_config=rpc, evaluator_config=config, max_workers=1)


@dataclass(frozen=True)
class _Start:
    """What the runner's process does first; it takes no arguments."""

    cores: tuple[int, ...]

    def __call__(self) -> None:
        _use_cores(self.cores)
        use_threads(len(self.cores))
