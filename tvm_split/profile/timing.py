"""Kernels and modules timed on one device, this machine or a board over RPC: what every measurement of layers uses."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm
from tvm import relax, rpc

from tvm_split import lower
from tvm_split.errors import CostError, LinkDownError, last_line
from tvm_split.layer_kernels import MAIN, Kernel
from tvm_split.linker import find_linker
from tvm_split.profile.rpc import still_there, upload
from tvm_split.targets import TargetSpec, host
from tvm_split.targets.host import machine

#: a shorter call is repeated until this much time has passed, and the mean is one repeat; of a reference, which is
#: timed beside everything
MIN_REPEAT_MS, REFERENCE_MS = 5, 1
RAISED = (RuntimeError, OSError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class Bench:
    """Builds for one target, loads on one device, and times there."""

    folder: Path
    spec: TargetSpec
    target: tvm.target.Target
    device: tvm.runtime.Device
    remote: rpc.RPCSession | None
    repeats: int

    def built(self, mod: tvm.IRModule, what: str, pipeline: tvm.transform.Pass | None = None) -> tvm.runtime.Module:
        """The module compiled, linked, and loaded where it is timed; its file is gone again."""
        path = self.exported(mod, what, pipeline)
        try:
            return self.loaded(path)
        finally:
            path.unlink()

    def exported(self, mod: tvm.IRModule, what: str, pipeline: tvm.transform.Pass | None = None) -> Path:
        """The module compiled and linked: a file of its own. CostError: TVM cannot compile it. Not for two threads."""
        path = self.folder / f"{uuid.uuid4().hex[:12]}.so"
        try:
            options = {} if pipeline is None else {"relax_pipeline": pipeline}
            tvm.compile(mod, self.target, **options).export_library(str(path), fcompile=find_linker(self.spec.arch))
        except tvm.error.InternalError as error:
            raise CostError(f"{what}: TVM cannot compile this for '{self.spec.name}': {last_line(error)}") from error
        return path

    def loaded(self, path: Path) -> tvm.runtime.Module:
        """A file of `exported`, loaded where it is timed. LinkDownError: the board is gone."""
        return tvm.runtime.load_module(str(path)) if self.remote is None else upload(self.remote, path)

    def vm_times(self, module: tvm.runtime.Module, mod: tvm.IRModule, what: str) -> list[float]:
        """Seconds of single calls of `main` of `mod`, which `module` is compiled from, on values that are made up."""
        inputs = [made_up(param.ty) for param in mod[MAIN].params]
        return self._timed(lambda: through_vm(module, self.device, inputs, self.repeats), what)

    def reference(self, module: tvm.runtime.Module, mod: tvm.IRModule, what: str) -> Callable[[], float]:
        """What times `main` once, as `vm_times` would, for a `pace.Pace`."""
        inputs = [made_up(param.ty) for param in mod[MAIN].params]
        evaluate = vm_evaluator(module, self.device, inputs, 1, REFERENCE_MS)
        return lambda: self._timed(evaluate, what)[0]

    def kernel_times(self, library: tvm.runtime.Module, kernel: Kernel, layer: str) -> list[float]:
        """Seconds of each repeat of a kernel of the library, on values that are made up but for its weights."""

        def call() -> list[float]:
            arrays = [
                made_up(ty) if isinstance(read, int) else read.numpy()
                for read, ty in zip(kernel.reads, kernel.types, strict=False)
            ]
            arguments = [tvm.runtime.tensor(array, self.device) for array in [*arrays, *map(made_up, kernel.written)]]
            evaluate = library.time_evaluator(
                kernel.symbol, self.device, number=1, repeat=self.repeats, min_repeat_ms=MIN_REPEAT_MS
            )
            return [float(seconds) for seconds in evaluate(*arguments).results]

        return self._timed(call, layer)

    def module_times(self, mod: tvm.IRModule, layer: str) -> list[float]:
        """Seconds of each repeat of a module's `main`, through Relax's virtual machine."""
        return self.vm_times(self.built(mod, f"layer '{layer}'", lower.pipeline(self.target)), mod, layer)

    def _timed(self, call: Callable[[], list[float]], layer: str) -> list[float]:
        """CostError that names the layer when it fails or no time was taken; LinkDownError when the board is gone."""
        try:
            repeats = call()
        except RAISED as error:
            if self.remote is not None and not still_there(self.remote):
                raise LinkDownError(
                    f"the board of '{self.spec.name}' ended its session over layer '{layer}' ({last_line(error)}); "
                    "see that its RPC server runs, and go on"
                ) from error
            raise CostError(
                f"layer '{layer}' cannot be timed on '{self.spec.name}': {last_line(error)}; use --costs roofline, or "
                "give a costs file"
            ) from error
        if not all(seconds > 0 for seconds in repeats):
            raise CostError(
                f"layer '{layer}' was timed as {min(repeats)} s on '{self.spec.name}'; expected more than 0"
            )
        return repeats


def made_up(ty: relax.TensorType) -> np.ndarray:
    """Values of the type: floats uniform over 0 to 1, anything else 0."""
    shape = tuple(int(extent) for extent in ty.shape.values)
    dtype = np.dtype(str(ty.dtype))
    if dtype.kind == "f":
        return np.random.default_rng(0).random(shape, np.float32).astype(dtype, copy=False)
    return np.zeros(shape, dtype)


def through_vm(
    module: tvm.runtime.Module, device: tvm.runtime.Device, inputs: Sequence[np.ndarray], repeats: int
) -> list[float]:
    """Seconds of single calls of a module's `main`. ValueError: it takes another number of inputs."""
    return vm_evaluator(module, device, inputs, repeats, MIN_REPEAT_MS)()


def vm_evaluator(
    module: tvm.runtime.Module, device: tvm.runtime.Device, inputs: Sequence[np.ndarray], repeats: int, least_ms: int
) -> Callable[[], list[float]]:
    """What times `repeats` calls of a module's `main`, each for `least_ms`. ValueError as `through_vm`."""
    vm = relax.VirtualMachine(module, device)
    arity = int(vm.module["get_function_arity"](MAIN))
    if arity != len(inputs):
        raise ValueError(f"main takes {arity} inputs, {len(inputs)} were given")
    vm.set_input(MAIN, *[tvm.runtime.tensor(np.ascontiguousarray(array), device) for array in inputs])
    # the stateful call: over RPC, a function that returns a tuple cannot be timed directly
    evaluate = vm.time_evaluator("invoke_stateful", device, number=1, repeat=repeats, min_repeat_ms=least_ms)

    def seconds() -> list[float]:
        assert vm is not None  # what is evaluated lives as long as its machine
        return [float(each) for each in evaluate(MAIN).results]

    return seconds


def check_runs(spec: TargetSpec, remote: rpc.RPCSession | None) -> None:
    """CostError when nothing that this target is compiled for can run where it would be timed."""
    if spec.simulated:
        raise CostError(f"target '{spec.name}' is simulated and runs no code; use --costs roofline")
    if remote is None and spec.arch != machine():
        raise CostError(
            f"target '{spec.name}' is {spec.arch} and this machine {machine()}: give a session on a board "
            "(tvm_split.profile.rpc.connect), or use --costs roofline"
        )


def processor() -> str:
    """This machine's processor and its number of cores, as text."""
    return (host.processor() or platform.processor() or platform.machine()) + f", {os.cpu_count()} cores"
