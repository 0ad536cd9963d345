"""The bench: one network through tvm-split, TVM's default and onnxruntime by turns, then kernel by kernel."""

from __future__ import annotations

import math
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_split import calibrate, data, frontend, pipeline, zoo
from tvm_split.bench import compiled, peaks
from tvm_split.bench.engines import Kernels, OnnxNetwork, TvmNetwork
from tvm_split.bench.interleave import interleave
from tvm_split.bench.layer_times import layer_times
from tvm_split.bench.result import DEFAULT, ONNXRUNTIME, OURS, BenchResult, max_abs_difference
from tvm_split.bench.worker import Worker
from tvm_split.errors import BuildError, CostError, LinkDownError, ModelError, SplitError, TargetError
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph
from tvm_split.targets import TargetSpec, load_target
from tvm_split.tune.apply import database_of, taking
from tvm_split.tvm_target import resolve
from tvm_split.workflow import model_name

if TYPE_CHECKING:
    import tvm

#: TVM's default may take minutes a call: what its first call may take, and when it sits out the rounds left
DEFAULT_CALL_S, DEFAULT_S = 300.0, 30.0
SAMPLES, SEED = 8, 0


@dataclass(frozen=True)
class BenchRequest:
    """What a user asks for. `threads` None: every core that this process may use."""

    model: str
    precision: str = "float32"
    target: str = "host"
    threads: int | None = None
    repeats: int = 10
    default: bool = True
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    data: Path | None = None
    database: Path | None = None


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
        mod, graph, inputs, onnx_file = _network(job)
        progress(f"compiling {len(graph.layers)} layers")
        ours, probes = job.folder / "ours.so", job.folder / "peaks.so"
        with database_of(request), taking(progress):
            calls = compiled.compile_ours(pipeline.layers()(mod), spec, job.target, ours)
        compiled.compile_kernels(peaks.probes(job.target, threads), spec, job.target, probes)
        engines, difference = _engines(job, ours, mod, inputs, onnx_file)
        progress(f"timing {', '.join(engines)} by turns, {request.repeats} rounds")
        times = interleave(engines, request.repeats, {DEFAULT: DEFAULT_S})
        for worker in engines.values():
            worker.stop()
        progress("measuring this machine's limits")
        kernels = job.start("the kernels", Kernels, [ours, probes])
        limits = peaks.measure(kernels, job.target, threads)
        progress(f"timing {len(calls)} kernels")
        layers = layer_times(kernels, graph, calls, limits)
    return BenchResult(
        model_name(request.model), request.precision, threads, times, difference, layers,
        limits.flops_per_s, limits.bandwidth, tuple(job.warnings),
    )  # fmt: skip


def _engines(
    job: _Job, ours: Path, mod: tvm.IRModule, inputs: list[np.ndarray], onnx_file: Path | None
) -> tuple[dict[str, Worker], float | None]:
    """The engines that can run the network, in the order of their turns, and how far our outputs are off."""
    first = job.start("tvm-split's network", TvmNetwork, ours, inputs)
    engines, difference = {OURS: first}, None
    if onnx_file is not None:
        job.progress("starting onnxruntime")
        theirs = _or_warn(job, lambda: job.start(ONNXRUNTIME, OnnxNetwork, onnx_file, inputs))
        if theirs is not None:
            engines[ONNXRUNTIME] = theirs
            difference = max_abs_difference(first.ask("outputs"), theirs.ask("outputs"))
            if not math.isfinite(difference):
                job.warnings.append("tvm-split's outputs and onnxruntime's differ in shape, or one is not finite")
    if job.request.default:
        job.progress("compiling with TVM's default pipeline")
        plain = _or_warn(job, lambda: _default(job, mod, inputs))
        if plain is not None:
            engines[DEFAULT] = plain
    return engines, difference


def _network(job: _Job) -> tuple[tvm.IRModule, Graph, list[np.ndarray], Path | None]:
    """The module as imported, its graph of layers, one input, and the file for onnxruntime, None if it takes none."""
    from tvm_split.bench import onnx_models

    request, name = job.request, model_name(job.request.model)
    job.progress(f"reading {name}")
    path = zoo.fetch(request.model.removeprefix("zoo:")) if request.model.startswith("zoo:") else Path(request.model)
    mod = frontend.load(path, shapes=request.shapes)
    graph = extract_graph(pipeline.layers()(mod), name)
    samples = _samples(request, graph)
    inputs = [samples[0][name] for name in graph.inputs]
    if path.suffix.lower() != ".onnx":
        if request.precision == "int8":
            raise ModelError(f"{path}: --precision int8 uses onnxruntime's quantiser, which takes .onnx files only")
        job.warnings.append(f"{path.name} is no .onnx file, so there is no time of onnxruntime's")
        return mod, graph, inputs, None
    onnx_file = onnx_models.with_fixed_shapes(path, request.shapes, job.folder)
    if request.precision == "int8":
        if request.data is None:
            job.warnings.append("No --data was given: int8 ranges come from random inputs; only times mean something")
        job.progress(f"quantising with onnxruntime on {len(samples)} samples")
        arrays = [[sample[name] for name in graph.inputs] for sample in samples]
        onnx_file = onnx_models.quantized(onnx_file, arrays, job.folder)
        try:
            mod = frontend.load(onnx_file)
        except ModelError as error:
            raise ModelError(f"{path}: what onnxruntime's quantiser made of it cannot be compiled: {error}") from error
        graph = extract_graph(pipeline.layers()(mod), name)
    return mod, graph, inputs, onnx_file


def _samples(request: BenchRequest, graph: Graph) -> list[data.Batch]:
    if request.data is None:
        return calibrate.random_batches(graph, SAMPLES, SEED)
    return data.load_batches(request.data, graph)[:SAMPLES]


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
    here = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if spec.simulated or spec.arch != here:
        what = "simulated" if spec.simulated else f"for {spec.arch}"
        raise TargetError(
            f"target '{spec.name}' is {what}, but bench runs networks on this machine, {here}; give host, or another "
            f"target for {here}. Boards are timed by `tvm-split measure`"
        )
    return spec
