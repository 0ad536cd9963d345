"""What runs in the processes: a network through TVM, the same through onnxruntime, and single kernels."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tvm
from tvm import relax

from tvm_split.runtime.executor import flat_arrays, use_threads

MAIN = "main"
ArrayType = tuple[tuple[int, ...], str]
#: shorter calls of a kernel are repeated until so long has passed, and the mean is one time
MIN_REPEAT_MS = 5
#: a kernel is not timed again when its times together would take longer
KERNEL_S = 1.0
#: onnxruntime does not bind its threads when it is told their number. TVM does, with one thread even the process's
#: main thread, to the first core: on a machine that has other work too, that would tell TVM's networks apart from
#: onnxruntime's by what else runs on that core.
UNBOUND = {"TVM_BIND_THREADS": "0"}


class Network(ABC):
    """A network that can be called; a subclass says how."""

    @abstractmethod
    def call(self) -> Any:
        """Run it once on its inputs; what the engine returns."""

    def times(self, count: int) -> list[float]:
        """Seconds of each of `count` calls. Before more than one, a call wakes the threads and is not counted."""
        if count > 1:
            self.call()
        seconds = []
        for _ in range(count):
            begin = time.perf_counter()
            self.call()
            seconds.append(time.perf_counter() - begin)
        return seconds


class TvmNetwork(Network):
    """`main` of a compiled Relax module. Inputs are TVM's own tensors; outputs stay in TVM's memory."""

    def __init__(self, library: Path, inputs: Sequence[np.ndarray], threads: int) -> None:
        start_pool(threads)
        self._vm = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
        self._main = self._vm[MAIN]
        self._inputs = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in inputs]

    def call(self) -> Any:
        return self._main(*self._inputs)

    def outputs(self) -> list[np.ndarray]:
        return list(flat_arrays(self.call()))


class OnnxNetwork(Network):
    """An ONNX file in onnxruntime, all its optimisations on. Inputs and outputs are its own tensors, as with TVM."""

    def __init__(self, model: Path, inputs: Sequence[np.ndarray], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        names = [item.name for item in self._session.get_inputs()]
        if len(names) != len(inputs):
            raise ValueError(f"onnxruntime wants the inputs {', '.join(names)}; the network as imported {len(inputs)}")
        self._outputs = [item.name for item in self._session.get_outputs()]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for array in inputs]
        self._inputs = dict(zip(names, values, strict=True))

    def call(self) -> Any:
        return self._session.run_with_ort_values(self._outputs, self._inputs)

    def outputs(self) -> list[np.ndarray]:
        return [value.numpy() for value in self.call()]


class Kernels:
    """The PrimFuncs of libraries, each called alone with made-up arguments."""

    def __init__(self, libraries: Sequence[Path], threads: int) -> None:
        start_pool(threads)
        loaded = [tvm.runtime.load_module(str(library)) for library in libraries]
        self._modules = [part for module in loaded for part in (module, *module.imports)]

    def seconds(
        self, symbol: str, types: Sequence[ArrayType], repeats: int, min_repeat_ms: int = MIN_REPEAT_MS
    ) -> list[float]:
        """Up to `repeats` times of one call, after one that is not counted."""
        module = next((part for part in self._modules if part.implements_function(symbol)), None)
        if module is None:
            raise LookupError(f"no library has a kernel '{symbol}'")
        arguments = [tvm.runtime.tensor(made_up(shape, dtype)) for shape, dtype in types]

        def timed(count: int) -> list[float]:
            evaluate = module.time_evaluator(symbol, tvm.cpu(), number=1, repeat=count, min_repeat_ms=min_repeat_ms)
            return [float(seconds) for seconds in evaluate(*arguments).results]

        (first,) = timed(1)
        again = min(repeats - 1, int(KERNEL_S / max(first, min_repeat_ms * 1e-3)))
        return [first, *timed(again)] if again > 0 else [first]


def start_pool(threads: int) -> None:
    """Start TVM's threads, in a process that has not run a kernel yet."""
    os.environ.update(UNBOUND)
    use_threads(threads)


def made_up(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Floats uniform over 0 to 1; anything else 0, a valid index everywhere."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.random.default_rng(0).random(shape, np.float32).astype(kind, copy=False)
    return np.zeros(shape, kind)
