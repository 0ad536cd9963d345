"""The bench: one network through tvm-split, TVM's default and onnxruntime by turns, then kernel by kernel."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_split.bench import compiled, load, peaks
from tvm_split.bench.engines import Kernels, OnnxNetwork, TvmNetwork
from tvm_split.bench.interleave import interleave
from tvm_split.bench.layer_times import layer_times
from tvm_split.bench.loaded import BenchRequest, Loaded
from tvm_split.bench.loaded import load as load_model
from tvm_split.bench.result import DEFAULT, ONNXRUNTIME, OURS, OURS_FLOAT32, BenchResult, max_abs_difference
from tvm_split.bench.worker import Worker
from tvm_split.errors import BuildError, CostError, LinkDownError, SplitError, TargetError
from tvm_split.targets import TargetSpec, load_target
from tvm_split.targets.host import machine
from tvm_split.tune.apply import database_of, taking
from tvm_split.tvm_target import resolve

if TYPE_CHECKING:
    import tvm

#: TVM's default may take minutes a call: what its first call may take, and when it sits out the rounds left
DEFAULT_CALL_S, DEFAULT_S = 300.0, 30.0


@dataclass(frozen=True)
class _Job:
    """What every step needs to know."""

    request: BenchRequest
    spec: TargetSpec
    target: tvm.target.Target
    cores: frozenset[int]
    threads: int
    folder: Path
    stack: ExitStack
    warnings: list[str]
    progress: Callable[[str], None]

    def start(self, name: str, make: Callable[..., Any], *args: Any) -> Worker:
        """A process that ends with the bench at the latest."""
        return self.stack.enter_context(Worker(name, self.cores, make, *args, self.threads))


def bench(request: BenchRequest, progress: Callable[[str], None] = lambda _text: None) -> BenchResult:
    """Time the request's network. Times are medians of calls; each engine runs in a process of its own, by turns.

    TVM's default and onnxruntime are left out with a warning where they cannot run the network. ModelError, DataError,
    TargetError, CostError for inputs that are wrong; BuildError when the network cannot be compiled.
    """
    cores = frozenset(_cores())  # before the first kernel: a thread pool of one binds this process to a core
    threads = _threads(request.threads, len(cores))
    if request.repeats < 1:
        raise CostError(f"repeats is {request.repeats}; expected 1 or more")
    spec = _target(request.target)
    with tempfile.TemporaryDirectory(prefix="tvm-split-bench-") as folder, ExitStack() as stack:
        job = _Job(request, spec, resolve(spec), cores, threads, Path(folder), stack, [], progress)
        loaded = load_model(request, job.folder, progress)
        job.warnings.extend(loaded.warnings)
        graph = loaded.network.graph
        progress(f"compiling {len(graph.layers)} layers")
        ours, probes = job.folder / "ours.so", job.folder / "peaks.so"
        with database_of(request), taking(progress):
            calls = compiled.compile_ours(loaded.network.layered, spec, job.target, ours)
        compiled.compile_kernels(peaks.probes(job.target, threads), spec, job.target, probes)
        engines, difference = _engines(job, ours, loaded)
        progress(f"timing {', '.join(engines)} by turns, {request.repeats} rounds")
        looks = [load.others(cores)]  # before each of the two measurements: what works here is idle then
        times = interleave(engines, request.repeats, {DEFAULT: DEFAULT_S})
        for worker in engines.values():
            worker.stop()
        progress("measuring this machine's limits")
        kernels = job.start("the kernels", Kernels, [ours, probes])
        looks.append(load.others(cores))
        limits = peaks.measure(kernels, job.target, threads)
        progress(f"timing {len(calls)} kernels")
        layers = layer_times(kernels, graph, calls, limits)
    busy_cores = max((look for look in looks if look is not None), default=None)
    job.warnings.extend(load.warnings(busy_cores, len(cores)))
    return BenchResult(
        graph.name, loaded.precision, threads, times, difference, layers,
        limits.flops_per_s, limits.bandwidth, limits.int8_ops_per_s, tuple(job.warnings), busy_cores,
    )  # fmt: skip


def _engines(job: _Job, ours: Path, loaded: Loaded) -> tuple[dict[str, Worker], float | None]:
    """The engines that can run the network, in the order of their turns, and how far our outputs are off."""
    inputs = loaded.inputs
    first = job.start("tvm-split's network", TvmNetwork, ours, inputs)
    engines, difference = {OURS: first}, None
    if loaded.onnx_file is not None:
        job.progress("starting onnxruntime")
        theirs = _or_warn(job, lambda: job.start(ONNXRUNTIME, OnnxNetwork, loaded.onnx_file, inputs))
        if theirs is not None:
            engines[ONNXRUNTIME] = theirs
            difference = max_abs_difference(first.ask("outputs"), theirs.ask("outputs"))
            if not math.isfinite(difference):
                job.warnings.append("tvm-split's outputs and onnxruntime's differ in shape, or one is not finite")
    if loaded.float32 is not None:
        job.progress("compiling the float32 network")
        library = job.folder / "ours_float32.so"
        compiled.compile_ours(loaded.float32.layered, job.spec, job.target, library)
        engines[OURS_FLOAT32] = job.start("tvm-split's float32 network", TvmNetwork, library, inputs)
    if job.request.default:
        job.progress("compiling with TVM's default pipeline")
        plain = _or_warn(job, lambda: _default(job, loaded.network.imported, inputs))
        if plain is not None:
            engines[DEFAULT] = plain
    return engines, difference


def _default(job: _Job, mod: tvm.IRModule, inputs: list[np.ndarray]) -> Worker:
    """TVM's default, called once, so that a network that it takes minutes for is known here."""
    library = job.folder / "default.so"
    compiled.compile_default(mod, job.spec, job.target, library)
    worker = job.start("TVM's default network", TvmNetwork, library, inputs)
    worker.ask("times", 1, timeout_s=DEFAULT_CALL_S)
    return worker


def _or_warn(job: _Job, make: Callable[[], Worker]) -> Worker | None:
    """None, and a warning, when another engine than ours cannot run the network."""
    try:
        return make()
    except (BuildError, LinkDownError) as error:
        job.warnings.append(f"{error}; it is left out")
        return None


def _cores() -> Iterable[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _threads(asked: int | None, cores: int) -> int:
    if asked is not None and not 1 <= asked <= cores:
        raise SplitError(f"threads is {asked}; expected 1 to {cores}, the cores that this process may use")
    return cores if asked is None else asked


def _target(name: str) -> TargetSpec:
    spec = load_target(name)
    here = machine()
    if spec.simulated or spec.arch != here:
        what = "simulated" if spec.simulated else f"for {spec.arch}"
        raise TargetError(
            f"target '{spec.name}' is {what}, but bench runs networks on this machine, {here}; give host, or another "
            f"target for {here}. Boards are timed by `tvm-split measure`"
        )
    return spec
