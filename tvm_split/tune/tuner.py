"""Tune the costliest layers of a network: rank, search, compare, decide; each step can be killed and taken up again."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tvm_split import frontend, pipeline
from tvm_split.errors import BuildError, LinkDownError, TargetError, TuneError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.passes.preprocess import Preprocess
from tvm_split.profile.rpc import connect
from tvm_split.targets import TargetSpec, load_target
from tvm_split.targets.host import machine
from tvm_split.tune import trials
from tvm_split.tune.apply import facts
from tvm_split.tune.choice import costliest
from tvm_split.tune.compare import Measured, winner
from tvm_split.tune.database import Database, Decision, TargetFolder, default_folder
from tvm_split.tune.kernels import Kernel, kernels_of
from tvm_split.tune.lab import Cost, Parcel
from tvm_split.tune.measuring import Board
from tvm_split.tune.process import Process
from tvm_split.tvm_target import resolve

#: schedules that are compared with ours side by side: the fastest of the trials
FINALISTS = 6
#: how often a search that crashed is begun again
LIVES = 3
BOARD_WAIT_S = 30.0
SEEDS = 2**31 - 2


@dataclass(frozen=True)
class TuneRequest:
    """What a user asks for. layers: how many kernels at most; share: or as many as take this share of the time."""

    model: Any
    target: str = "host"
    database: Path | None = None
    trials: int = 32
    layers: int | None = None
    share: float = 0.8
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preprocess: str | None = None
    board: Board | None = None
    winograd: bool = True


class Watcher(Protocol):
    """Told how far it is."""

    def say(self, text: str) -> None: ...

    def at(self, name: str, tried: int, wanted: int) -> None: ...


@dataclass(frozen=True)
class Row:
    """A kernel, what its calls took in all with our schedule when it was ranked, and what was decided. `kept`: it
    had been decided before."""

    kernel: Kernel
    seconds: float
    decision: Decision
    kept: bool


@dataclass
class TuneResult:
    """total_s: all kernels of the network with our schedules, as ranked. rows grow while tuning goes on, to `wanted`.
    fixed: kernels that nothing can be varied in, costliest first."""

    database: Path
    target: str
    winograd: bool = True
    wanted: int = 0
    total_s: float = 0.0
    rows: list[Row] = field(default_factory=list)
    fixed: list[Row] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


def tune(request: TuneRequest, watcher: Watcher, result: TuneResult) -> None:
    """Fill `result` layer by layer; what is in it when an exception ends this is in the database too.

    TuneError, TargetError, ModelError, LinkDownError, BuildError for inputs that are wrong.
    """
    spec = _checked(request)
    database = Database.create(result.database)
    watcher.say("reading the network")
    mod = frontend.load(request.model, shapes=request.shapes)
    if request.preprocess:
        mod = Preprocess(PreprocessSpec.named(request.preprocess))(mod)
    target = resolve(spec)
    kernels = kernels_of(pipeline.layers(request.winograd)(mod), target)
    here = database.of(spec.name, facts(target))
    with here.locked(), tempfile.TemporaryDirectory(prefix="tvm-split-tune-") as scratch:
        with Process((facts(target), spec.arch, scratch, request.board)) as process:
            watcher.say(f"timing {len(kernels)} kernels with our schedules")
            costs = process.ask("costs", [Parcel.of(kernel) for kernel in kernels])
            chosen, result.total_s = costliest(kernels, costs, request.layers, request.share)
            result.wanted = len(chosen)
            result.fixed += fixed(kernels, costs)
            for kernel, cost in chosen:
                _one(kernel, cost, request, here, process, watcher, result)


def fixed(kernels: Iterable[Kernel], costs: Iterable[Cost]) -> list[Row]:
    """Rows of the kernels that cannot vary, costliest first."""
    found = []
    for kernel, cost in zip(kernels, costs, strict=True):
        if not cost.points:
            decision = Decision(kernel.layers, 0, 0, 0, 0, cost.seconds, None, None, cost.ours, "cannot be tuned")
            found.append(Row(kernel, cost.seconds * len(kernel.layers), decision, kept=False))
    return sorted(found, key=lambda row: -row.seconds)


def _checked(request: TuneRequest) -> TargetSpec:
    """The target; every wrong number, target and tracker is told before any work."""
    if request.trials < 1:
        raise TuneError(f"trials is {request.trials}; expected 1 or more")
    if request.layers is not None and request.layers < 1:
        raise TuneError(f"layers is {request.layers}; expected 1 or more")
    if not 0 < request.share <= 1:
        raise TuneError(f"share is {request.share}; expected more than 0, at most 1")
    spec = load_target(request.target)
    if spec.simulated:
        raise TargetError(f"target '{spec.name}' is simulated and runs no code: nothing can be timed on it")
    if request.board is None and spec.arch != machine():
        raise TargetError(
            f"target '{spec.name}' is {spec.arch} and this machine {machine()}: give --tracker and --key of a board"
        )
    if request.board is not None:
        connect(request.board.tracker, request.board.key, BOARD_WAIT_S).close()
    return spec


def _one(
    kernel: Kernel, cost: Cost, request: TuneRequest, here: TargetFolder, process: Process, watcher: Watcher,
    result: TuneResult,
) -> None:  # fmt: skip
    known = here.decision(kernel.key)
    seconds = cost.seconds * len(kernel.layers)
    if known is not None and known.trials >= request.trials and known.ours == cost.ours:
        result.rows.append(Row(kernel, seconds, known, kept=True))
        return
    folder, parcel = here.trials(kernel.key, cost.space), Parcel.of(kernel)
    trials.mend(folder)
    wanted = min(request.trials, cost.points)
    for _ in range(LIVES):
        before = len(trials.read(folder))
        watcher.at(kernel.name, before, wanted)
        if before >= wanted:
            break
        seed = (int(kernel.key, 16) + before) % SEEDS + 1  # another one than that of the trials there are
        try:
            process.ask(
                "search", parcel, str(folder), wanted - before, seed,
                tick=lambda: watcher.at(kernel.name, len(trials.read(folder)), wanted),
            )  # fmt: skip
        except LinkDownError as error:
            result.crashes.append(f"{kernel.name}: {error}")
            trials.mend(folder)
            _check_board(request.board, folder, before)
            continue
        except BuildError as error:  # TVM refuses: it would do so again, but the other layers do not depend on it
            result.crashes.append(f"{kernel.name}: {error}")
            _check_board(request.board, folder, before)
            break
        _check_board(request.board, folder, before)
        break  # the space may end before `wanted`
    decision = _decide(kernel, cost, request, folder, process, result)
    if decision.ours_s is not None:  # what was not measured is not decided, and tried again when it is asked for again
        here.decide(kernel.key, decision)
    result.rows.append(Row(kernel, seconds, decision, kept=False))


def _check_board(board: Board | None, folder: Path, before: int) -> None:
    """LinkDownError when the board is gone and the last trial failed, or none was made; of those after the first
    `before`, the last ones that failed are forgotten then."""
    every = trials.read(folder)
    worked = [i + 1 for i, trial in enumerate(every) if i >= before and math.isfinite(trial.seconds)]
    count = max(worked, default=before)
    if board is None or (worked and count == len(every)):
        return
    try:
        connect(board.tracker, board.key, BOARD_WAIT_S).close()
    except LinkDownError:
        trials.keep(folder, count)
        raise


def _decide(
    kernel: Kernel, cost: Cost, request: TuneRequest, folder: Path, process: Process, result: TuneResult
) -> Decision:
    every, finalists = trials.read(folder), trials.best(folder, FINALISTS)
    measured: list[Measured] = []
    if finalists:
        try:
            measured = process.ask("compare", Parcel.of(kernel), [trial.trace for trial in finalists])
        except (LinkDownError, BuildError) as error:
            result.crashes.append(f"{kernel.name}: {error}")
            _check_board(request.board, folder, len(every))
    return decision_of(kernel.layers, request.trials, every, [trial.trace for trial in finalists], measured, cost.ours)


def decision_of(
    layers: tuple[str, ...], asked: int, every: list[trials.Trial], traces: list[Any], measured: list[Measured],
    ours: str,
) -> Decision:  # fmt: skip
    """What follows from the trials and from the comparison, our schedule's figures first; none when it failed."""
    failed = sum(math.isinf(trial.seconds) for trial in every)
    if not measured:
        reason = "the comparison failed" if traces else "no trial could be built and run"
        return Decision(layers, asked, len(every), failed, 0, None, None, None, ours, reason)
    ours_s, others = measured[0].seconds, measured[1:]
    unequal = sum(not other.equal for other in others)
    best_s = min((other.seconds for other in others if other.equal), default=None)
    won = winner(ours_s, others)
    if won is not None:
        return Decision(
            layers, asked, len(every), failed, unequal, ours_s, others[won].seconds, traces[won], ours, "faster"
        )
    reason = "no trial was faster" if best_s is not None else "the trials gave other results"
    return Decision(layers, asked, len(every), failed, unequal, ours_s, best_s, None, ours, reason)


def result_for(request: TuneRequest) -> TuneResult:
    """The empty result that `tune` fills."""
    return TuneResult(request.database or default_folder(), request.target, request.winograd)
