"""Schedules of one kernel side by side: in one library, on the same inputs, timed by turns, their results compared.

Runs in a process that may crash. What is timed here decides; MetaSchedule's own times only say what is worth comparing.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from tvm_split.linker import find_linker
from tvm_split.passes.schedule import FAILED
from tvm_split.profile.rpc import connect, upload
from tvm_split.runtime.executor import use_threads
from tvm_split.tune.kernels import ArrayType
from tvm_split.tune.measuring import Place

#: rounds in which each schedule has a turn of at least so long; the least mean of a turn counts
ROUNDS, TURN_MS = 15, 10
#: turns of a kernel that is timed alone
REPEATS = 3
#: sets of random inputs on which results must be equal bit for bit
INPUTS = 2
#: what a busy board is waited for
WAIT_S = 60.0
#: a tuned schedule must take less than this share of our time: a smaller gain may be noise
GAIN = 0.97


@dataclass(frozen=True)
class Measured:
    """One schedule: whether its results were our schedule's bit for bit, and seconds of a call, inf when not timed."""

    equal: bool
    seconds: float


def winner(ours_s: float, others: Sequence[Measured]) -> int | None:
    """Number of the fastest schedule with equal results that gains enough on ours; None when ours stays."""
    right = [i for i, other in enumerate(others) if other.equal and other.seconds < GAIN * ours_s]
    return min(right, key=lambda i: others[i].seconds, default=None)


def compare(
    functions: Sequence[tirx.PrimFunc], reads: Sequence[np.ndarray | ArrayType], writes: Sequence[ArrayType],
    place: Place, rounds: int = ROUNDS,
) -> list[Measured]:  # fmt: skip
    """Run scheduled kernels that all take `reads` and `writes`; the first is ours, which the others must equal."""
    with loaded(functions, place) as (library, device):
        symbols = [_symbol(i) for i in range(len(functions))]
        equal = [True] * len(symbols)
        for seed in range(INPUTS):
            inputs = [tvm.runtime.tensor(each, device) for each in _inputs(reads, seed)]
            expected: list[bytes] = []
            for i, symbol in enumerate(symbols):
                outputs = [tvm.runtime.tensor(_rubbish(each, i), device) for each in writes]
                library[symbol](*inputs, *outputs)
                found = [output.numpy().tobytes() for output in outputs]
                expected = expected or found
                equal[i] = equal[i] and found == expected
        outputs = [tvm.runtime.tensor(_rubbish(each, 0), device) for each in writes]
        timers = {
            i: library.time_evaluator(symbol, device, number=1, repeat=1, min_repeat_ms=TURN_MS)
            for i, symbol in enumerate(symbols)
            if equal[i]
        }
        seconds = [math.inf] * len(symbols)
        for _ in range(rounds):
            for i, timer in timers.items():
                seconds[i] = min(seconds[i], float(timer(*inputs, *outputs).mean))
        return [Measured(right, value) for right, value in zip(equal, seconds, strict=True)]


def seconds_of(
    functions: Sequence[tirx.PrimFunc],
    arguments: Sequence[tuple[Sequence[np.ndarray | ArrayType], Sequence[ArrayType]]],
    place: Place,
) -> list[float]:
    """Seconds of a call of different kernels, each with its own `reads` and `writes`."""
    found = []
    with loaded(functions, place) as (library, device):
        for i, (reads, writes) in enumerate(arguments):
            arrays = [*_inputs(reads, 0), *(_rubbish(each, 0) for each in writes)]
            given = [tvm.runtime.tensor(array, device) for array in arrays]
            timer = library.time_evaluator(_symbol(i), device, number=1, repeat=REPEATS, min_repeat_ms=TURN_MS)
            found.append(min(float(value) for value in timer(*given).results))
    return found


def is_buildable(function: tirx.PrimFunc, place: Place) -> bool:
    try:
        tvm.compile(tvm.IRModule({_symbol(0): function.with_attr("global_symbol", _symbol(0))}), place.target)
    except FAILED:
        return False
    return True


@contextmanager
def loaded(functions: Sequence[tirx.PrimFunc], place: Place) -> Iterator[tuple[tvm.runtime.Module, tvm.runtime.Device]]:
    """A library of the kernels, where they are timed: on this machine, or on a board that is held meanwhile."""
    path = place.scratch / f"{uuid.uuid4().hex}.so"
    module = tvm.IRModule({_symbol(i): f.with_attr("global_symbol", _symbol(i)) for i, f in enumerate(functions)})
    tvm.compile(module, place.target).export_library(str(path), fcompile=find_linker(place.arch))
    if place.board is None:
        use_threads()
        yield tvm.runtime.load_module(str(path)), tvm.cpu()
    else:
        with connect(place.board.tracker, place.board.key, WAIT_S) as session:
            yield upload(session, path), session.cpu()
    Path(path).unlink()


def _symbol(number: int) -> str:
    return f"schedule_{number}"


def _inputs(reads: Sequence[np.ndarray | ArrayType], seed: int) -> Iterator[np.ndarray]:
    """Weights as they are; floats of both signs, bytes of every value, other integers 0, a valid index everywhere."""
    rng = np.random.default_rng(seed)
    for read in reads:
        if isinstance(read, np.ndarray):
            yield read
            continue
        shape, dtype = read
        kind = np.dtype(dtype)
        if kind.kind == "f":
            yield rng.standard_normal(shape, np.float32).astype(kind)
        elif kind.itemsize == 1 and kind.kind in "iu":
            bounds = np.iinfo(kind)
            yield rng.integers(bounds.min, bounds.max, shape, kind, endpoint=True)
        else:
            yield np.zeros(shape, kind)


def _rubbish(written: ArrayType, number: int) -> np.ndarray:
    """What an output holds before: not the same for two schedules, so that an element left out shows."""
    shape, dtype = written
    return np.full(shape, 1 + number % 100, np.dtype(dtype))
