"""Seconds of each layer by running it, on this machine or on a board over RPC.

    costs = measure_layers(mod, graph, load_target("host"))
    costs = measure_layers(mod, graph, load_target("raspberry-pi-4"), remote=session)     # of profile.rpc.connect

A layer is lowered alone, by the passes that lower a half, so that the kernel timed is the kernel that a half runs. All
kernels go into one library and are called directly. A layer that is not one kernel (a sort; a reshape, which moves
nothing in a half) is timed as a module of its own through Relax's virtual machine, whose overhead it then holds.

Weights are the network's; float inputs are uniform over 0 to 1 and integers are 0, a valid index everywhere.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import relax, rpc

from tvm_split import lower
from tvm_split.costs import Costs
from tvm_split.errors import BundleError, CostError, last_line
from tvm_split.graph import Graph
from tvm_split.layer_kernels import MAIN, Kernel, lower_layers
from tvm_split.linker import find_linker
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.profile.rpc import upload
from tvm_split.runtime.executor import use_threads
from tvm_split.targets import TargetSpec
from tvm_split.targets.host import machine
from tvm_split.tvm_target import resolve
from tvm_split.versions import versions

#: a shorter call is repeated until this much time has passed, and the mean is one repeat
MIN_REPEAT_MS = 5
RAISED = (RuntimeError, OSError, ValueError, TypeError, AttributeError)


def measure_layers(
    mod: tvm.IRModule,
    graph: Graph,
    spec: TargetSpec,
    *,
    remote: rpc.RPCSession | None = None,
    repeats: int = 3,
    date: str | None = None,
) -> Costs:
    """Costs of every layer of `graph`, each the median of `repeats` timings after an uncounted call.

    `mod` is the module of layers that the graph was taken from, `remote` a session on a board of `spec`'s architecture;
    without one this machine is timed. `date` goes into the provenance, by default now in UTC. CostError: repeats below
    1, a target that cannot run here, a layer that `mod` lacks or that fails. BuildError: no linker for it.
    """
    if repeats < 1:
        raise CostError(f"repeats is {repeats}; expected 1 or more")
    _check_runs(spec, remote)
    here = {str(callee.attrs[LAYER]) for _, callee in layer_calls(mod)}
    missing = [layer.name for layer in graph.layers if layer.name not in here]
    if missing:
        raise CostError(
            f"layer '{missing[0]}' of graph '{graph.name}' is not in the module ({len(missing)} of {len(graph.layers)} "
            "are not): pass the module that the graph was extracted from"
        )
    target = resolve(spec)
    threads = use_threads() if remote is None else None
    lowered = lower_layers(mod, target)
    device = tvm.cpu() if remote is None else remote.cpu()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tvm-split-measure-") as folder:
        bench = _Bench(Path(folder), spec, target, device, remote, repeats)
        if lowered.programs:
            library = bench.built(lowered.library(), "the layers' kernels")
        for layer in graph.layers:
            if layer.name in lowered.programs:
                (kernel,) = (each for each in lowered.programs[layer.name].kernels if not each.converts)
                seconds[layer.name] = bench.time_kernel(library, kernel, layer.name)
            else:
                seconds[layer.name] = bench.time_module(lowered.modules[layer.name], layer.name)
    provenance = {
        "graph": graph.name,
        "machine": _processor() if remote is None else f"{spec.name}, over RPC",
        "system": platform.platform() if remote is None else spec.arch,
        "threads": threads if threads is not None else "the RPC server's",
        "compiled_for": str(target),
        "date": date if date is not None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "repeats": repeats,
        "through_vm": len(lowered.modules),
        "versions": versions(),
    }
    return Costs(spec.name, "measured", seconds, provenance)


def measure_half(lib_path: str | Path, inputs: Sequence[np.ndarray], repeats: int = 3) -> list[float]:
    """Seconds of single calls of a compiled half's `main` on this machine, `repeats` of them, after an uncounted one.

    BundleError: no such file, made for another machine, or `main` refuses the inputs. CostError: repeats below 1.
    """
    if repeats < 1:
        raise CostError(f"repeats is {repeats}; expected 1 or more")
    path = Path(lib_path)
    if not path.is_file():
        raise BundleError(f"{path} is no file: expected a half made by `tvm-split compile`")
    use_threads()
    try:
        return _through_vm(tvm.runtime.load_module(str(path)), tvm.cpu(), inputs, repeats)
    except RAISED as error:
        shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in inputs)
        raise BundleError(
            f"{path} cannot be timed here on ({shapes}): {last_line(error)}; expected a Relax module compiled for "
            "this machine, and the inputs of its function main"
        ) from error


@dataclass(frozen=True)
class _Bench:
    """Builds for one target, loads on one device, and times there."""

    folder: Path
    spec: TargetSpec
    target: tvm.target.Target
    device: tvm.runtime.Device
    remote: rpc.RPCSession | None
    repeats: int

    def built(self, mod: tvm.IRModule, what: str, pipeline: tvm.transform.Pass | None = None) -> tvm.runtime.Module:
        """The module compiled, linked, and loaded where it is timed."""
        path = self.folder / "measured.so"
        try:
            options = {} if pipeline is None else {"relax_pipeline": pipeline}
            tvm.compile(mod, self.target, **options).export_library(str(path), fcompile=find_linker(self.spec.arch))
        except tvm.error.InternalError as error:
            raise CostError(f"{what}: TVM cannot compile this for '{self.spec.name}': {last_line(error)}") from error
        if self.remote is not None:
            return upload(self.remote, path)
        moved = path.with_name(f"{len(list(self.folder.iterdir()))}.so")  # a loaded library must not be overwritten
        path.rename(moved)
        return tvm.runtime.load_module(str(moved))

    def time_kernel(self, library: tvm.runtime.Module, kernel: Kernel, layer: str) -> float:
        def call() -> float:
            arrays = [
                made_up(ty) if isinstance(read, int) else read.numpy()
                for read, ty in zip(kernel.reads, kernel.types, strict=False)
            ]
            arguments = [tvm.runtime.tensor(array, self.device) for array in [*arrays, *map(made_up, kernel.written)]]
            evaluate = library.time_evaluator(
                kernel.symbol, self.device, number=1, repeat=self.repeats, min_repeat_ms=MIN_REPEAT_MS
            )
            return statistics.median(float(seconds) for seconds in evaluate(*arguments).results)

        return self._timed(call, layer)

    def time_module(self, mod: tvm.IRModule, layer: str) -> float:
        inputs = [made_up(param.ty) for param in mod[MAIN].params]
        module = self.built(mod, f"layer '{layer}'", lower.pipeline(self.target))
        return self._timed(lambda: statistics.median(_through_vm(module, self.device, inputs, self.repeats)), layer)

    def _timed(self, call: Callable[[], float], layer: str) -> float:
        """CostError that names the layer when it fails or no time was taken."""
        try:
            seconds = call()
        except RAISED as error:
            raise CostError(
                f"layer '{layer}' cannot be timed on '{self.spec.name}': {last_line(error)}; use --costs roofline, or "
                "give a costs file"
            ) from error
        if not seconds > 0:
            raise CostError(f"layer '{layer}' was timed as {seconds} s on '{self.spec.name}'; expected more than 0")
        return seconds


def made_up(ty: relax.TensorType) -> np.ndarray:
    """Values of the type: floats uniform over 0 to 1, anything else 0."""
    shape = tuple(int(extent) for extent in ty.shape.values)
    dtype = np.dtype(str(ty.dtype))
    if dtype.kind == "f":
        return np.random.default_rng(0).random(shape, np.float32).astype(dtype, copy=False)
    return np.zeros(shape, dtype)


def _through_vm(
    module: tvm.runtime.Module, device: tvm.runtime.Device, inputs: Sequence[np.ndarray], repeats: int
) -> list[float]:
    vm = relax.VirtualMachine(module, device)
    arity = int(vm.module["get_function_arity"](MAIN))
    if arity != len(inputs):
        raise ValueError(f"main takes {arity} inputs, {len(inputs)} were given")
    vm.set_input(MAIN, *[tvm.runtime.tensor(np.ascontiguousarray(array), device) for array in inputs])
    # the stateful call: over RPC, a function that returns a tuple cannot be timed directly
    evaluate = vm.time_evaluator("invoke_stateful", device, number=1, repeat=repeats, min_repeat_ms=MIN_REPEAT_MS)
    return [float(seconds) for seconds in evaluate(MAIN).results]


def _check_runs(spec: TargetSpec, remote: rpc.RPCSession | None) -> None:
    """CostError when nothing that this target is compiled for can run where it would be timed."""
    if spec.simulated:
        raise CostError(f"target '{spec.name}' is simulated and runs no code; use --costs roofline")
    if remote is None and spec.arch != machine():
        raise CostError(
            f"target '{spec.name}' is {spec.arch} and this machine {machine()}: give a session on a board "
            "(tvm_split.profile.rpc.connect), or use --costs roofline"
        )


def _processor() -> str:
    return next(_model_names(), platform.processor() or platform.machine()) + f", {os.cpu_count()} cores"


def _model_names() -> Iterator[str]:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                yield line.split(":", 1)[1].strip()
