"""Run one compiled half on this machine. The only file of the runtime that imports TVM."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_split.errors import BundleError, last_line
from tvm_split.runtime.machine import obstacle

MAIN, FINGERPRINT = "main", "fingerprint"
BIG_CORES = 1


def use_threads(threads: int | None = None) -> int:
    """Make TVM's thread pool use `threads`, by default every core this process may use; the number it really has.

    TVM itself takes half of the cores on x86. It reads TVM_NUM_THREADS when its pool starts, so this must come before
    the first kernel; afterwards the pool can only shrink, and a smaller one than asked for is a warning. A process that
    was given some of the cores stays on them.
    """
    allowed = len(os.sched_getaffinity(0))
    wanted = threads if threads is not None else allowed
    if wanted < 1:
        raise BundleError(f"threads is {wanted}; expected 1 or more")
    os.environ["TVM_NUM_THREADS"] = str(wanted)
    if allowed < (os.cpu_count() or 1):
        # TVM binds its threads to the machine's first cores, whichever this process was given
        os.environ.setdefault("TVM_BIND_THREADS", "0")
    count = tvm.get_global_func("runtime.NumThreads")
    if count() != wanted:
        tvm.get_global_func("runtime.config_threadpool")(BIG_CORES, wanted)
    if count() < wanted:
        warnings.warn(
            f"TVM's thread pool had started with {count()} threads, {wanted} were wanted: "
            f"set TVM_NUM_THREADS={wanted} before the first kernel runs",
            stacklevel=2,
        )
    return int(count())


class Half:
    """The function `main` of a compiled Relax module, on this machine's CPU.

    `fingerprint`, when given, is the bundle's; a half that says another, or none, is refused. BundleError: that, no
    such file, made for another architecture or TVM, or `main` refuses the arrays.
    """

    def __init__(self, path_to_so: str | Path, threads: int | None = None, fingerprint: str | None = None) -> None:
        self.path = Path(path_to_so)
        if not self.path.is_file():
            raise BundleError(f"{self.path} is no file: expected a half made by `tvm-split compile`")
        if (reason := obstacle(self.path)) is not None:
            raise BundleError(f"{self.path} cannot be loaded here: {reason}; compile it for this one")
        self.threads = use_threads(threads)
        try:
            module = tvm.runtime.load_module(str(self.path))
            self._vm = relax.VirtualMachine(module, tvm.cpu())
            self._main = self._vm[MAIN]
            self._arity = int(self._vm.module["get_function_arity"](MAIN))
        except (RuntimeError, OSError, ValueError, AttributeError, TypeError) as error:
            raise BundleError(
                f"{self.path} cannot be loaded here ({last_line(error)}); it must be a Relax module with a "
                "function main, compiled for this machine's architecture and TVM version"
            ) from error
        if fingerprint is not None and (own := self.fingerprint()) != fingerprint:
            found = "no bundle by itself" if own is None else f"the bundle with fingerprint {own}"
            raise BundleError(
                f"{self.path} belongs to {found}, not to {fingerprint}; "
                "the two halves must come from one `tvm-split compile`"
            )

    def fingerprint(self) -> str | None:
        """The bundle's fingerprint as the compiled half itself says it, in hex; None when it says none."""
        try:
            says = self._vm[FINGERPRINT]
        except (RuntimeError, ValueError, AttributeError):
            return None
        return str(says().numpy().tobytes().hex())

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one call, in order, nested tuples flattened; arrays of their own memory."""
        if len(inputs) != self._arity:
            raise BundleError(f"{self.path}: main takes {self._arity} inputs, {len(inputs)} were given")
        try:
            arrays = [tvm.runtime.tensor(np.ascontiguousarray(array), tvm.cpu()) for array in inputs]
            return list(flat_arrays(self._main(*arrays)))
        except (RuntimeError, ValueError, TypeError) as error:
            shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in inputs)
            raise BundleError(
                f"{self.path} failed on ({shapes}): {last_line(error)}; compare with the bundle's manifest"
            ) from error


def flat_arrays(output: Any) -> Iterator[np.ndarray]:
    """The arrays of what TVM returned, a tensor or tuples of them nested to any depth, in order."""
    if isinstance(output, tvm.runtime.Tensor):
        yield output.numpy()
        return
    for part in output:
        yield from flat_arrays(part)
