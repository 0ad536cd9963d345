"""Run kernels of layers on an emulated ARM processor, all of them in one process, and count its instructions.

Kernels are linked with guest.c into one static program and run under qemu-user, so nothing of the system changes and
no root is needed: `Guest.build(...)`, then `Guest.run(cpu, ...)`. Emulated time is not ARM time; counts are exact.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm

from tvm_split.layer_kernels import Program

HERE = Path(__file__).resolve().parent
CODES = {"i": 0, "u": 1, "f": 2}
#: what a program is given to do: its arguments by the layer's name
Work = Mapping[str, Sequence[np.ndarray]]
RAN, READ = re.compile(rb"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/"), re.compile(rb"^0x([0-9a-f]+): ")


class GuestError(Exception):
    """The guest program could not be made or failed; the message says why."""


def qemu() -> Path | None:
    """qemu-user for aarch64: on PATH, or in the emulated board's folder."""
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if found := shutil.which(name):
            return Path(found)
    folder = Path(os.environ.get("TVM_SPLIT_BOARD_DIR") or "~/.cache/tvm-split/board").expanduser()
    found_there = folder / "qemu" / "qemu-aarch64-static"
    return found_there if found_there.exists() else None


def compiler() -> list[str] | None:
    """A C compiler that links static programs for aarch64."""
    if found := shutil.which("aarch64-linux-gnu-gcc"):
        return [found]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl"]
    return None


@dataclass(frozen=True)
class Guest:
    """A static program with the kernels of layers. `symbols` says where each stands in its table."""

    path: Path
    programs: Mapping[str, Program]
    symbols: Mapping[tuple[str, str], int]

    @staticmethod
    def build(programs: Mapping[str, Program], target: tvm.target.Target, folder: Path) -> Guest:
        command = compiler()
        if command is None:
            raise GuestError("no compiler for aarch64: apt-get install gcc-aarch64-linux-gnu, or pip install ziglang")
        symbols: dict[tuple[str, str], int] = {}
        functions = {}
        for name, program in programs.items():
            for kernel in program.kernels:
                i = symbols.setdefault((name, kernel.symbol), len(symbols))
                functions[f"k{i}"] = kernel.function.with_attr("global_symbol", f"k{i}")
        folder.mkdir(parents=True, exist_ok=True)
        compiled = tvm.compile(tvm.IRModule(functions), target).mod
        compiled.write_to_file(str(folder / "kernels.o"))
        table = [f"__tvm_ffi_k{i}" for i in range(len(symbols))]
        kind = "int {}(void *, const void *, int, void *);"
        code = [kind.format(name) for name in table] + [f"const void *kernels[] = {{{', '.join(table)}}};"]
        (folder / "table.c").write_text("\n".join(code) + "\n")
        files = [str(HERE / "guest.c"), str(folder / "table.c"), str(folder / "kernels.o")]
        done = subprocess.run(
            [*command, "-static", "-O2", *files, "-lm", "-o", str(folder / "guest")], capture_output=True, text=True
        )
        if done.returncode:
            raise GuestError(f"linking the guest failed:\n{done.stderr[-2000:]}")
        return Guest(folder / "guest", programs, symbols)

    def run(self, cpu: str, work: Work) -> dict[str, list[np.ndarray]]:
        """The results of each layer on `cpu`."""
        script, results = self._script(work)
        out = self._call(cpu, script, 1, [])
        found: dict[str, list[np.ndarray]] = {}
        at = 0
        for name, shape, dtype in results:
            size = int(np.prod(shape)) * dtype.itemsize
            found.setdefault(name, []).append(np.frombuffer(out[at : at + size], dtype).reshape(shape))
            at += size
        return found

    def instructions(self, cpu: str, work: Work) -> int:
        """Instructions that the processor executes for the layers' own kernels, without those that change a layout."""
        script, _ = self._script(work, converts=False)
        log = self.path.with_suffix(".log")
        once, twice = (self._executed(cpu, script, repeats, log) for repeats in (1, 2))
        return twice - once

    def _executed(self, cpu: str, script: bytes, repeats: int, log: Path) -> int:
        self._call(cpu, script, repeats, ["-d", "in_asm,exec,nochain", "-D", str(log)])
        ran: Counter[int] = Counter()
        length: dict[int, int] = {}
        start = None
        with log.open("rb") as lines:
            for line in lines:
                if found := RAN.match(line):
                    ran[int(found[1], 16)] += 1
                elif line.startswith(b"IN:"):
                    start = None
                elif found := READ.match(line):
                    start = int(found[1], 16) if start is None else start
                    length[start] = length.get(start, 0) + 1 if int(found[1], 16) != start else 1
        log.unlink()
        return sum(times * length[block] for block, times in ran.items())

    def _call(self, cpu: str, script: bytes, repeats: int, options: Sequence[str]) -> bytes:
        emulator = qemu()
        if emulator is None:
            raise GuestError("no qemu-aarch64-static: `python tests/board/emulated_board.py up` fetches one")
        given, made = self.path.with_suffix(".in"), self.path.with_suffix(".out")
        given.write_bytes(script)
        command = [str(emulator), "-cpu", cpu, *options, str(self.path), str(given), str(made), str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise GuestError(f"the guest on {cpu} ended with {done.returncode}: {done.stderr[-2000:]}")
        return made.read_bytes()

    def _script(self, work: Work, converts: bool = True) -> tuple[bytes, list[tuple[str, tuple[int, ...], np.dtype]]]:
        tensors: list[bytes] = []
        calls: list[bytes] = []
        results: list[tuple[str, tuple[int, ...], np.dtype]] = []
        wanted: list[int] = []

        def tensor(shape: Sequence[int], dtype: np.dtype, data: bytes = b"") -> int:
            tensors.append(_numbers(CODES[dtype.kind], dtype.itemsize * 8, len(shape), *shape, len(data)) + data)
            return len(tensors) - 1

        for name, inputs in work.items():
            program = self.programs[name]
            values = [tensor(x.shape, x.dtype, np.ascontiguousarray(x).tobytes()) for x in inputs]
            made = [(x.shape, x.dtype) for x in inputs]
            for kernel in program.kernels:
                numbers = []
                for read in kernel.reads:
                    array = None if isinstance(read, int) else read.numpy()
                    numbers.append(
                        values[read] if isinstance(read, int) else tensor(array.shape, array.dtype, array.tobytes())
                    )
                for ty in kernel.written:
                    shape, dtype = tuple(int(extent) for extent in ty.shape.values), np.dtype(str(ty.dtype))
                    values.append(tensor(shape, dtype))
                    made.append((shape, dtype))
                    numbers.append(values[-1])
                if converts or not kernel.converts:
                    calls.append(_numbers(self.symbols[name, kernel.symbol], len(numbers), *numbers))
            for i in program.results:
                wanted.append(values[i])
                results.append((name, *made[i]))
        parts = [_numbers(len(tensors)), *tensors, _numbers(len(calls)), *calls, _numbers(len(wanted), *wanted)]
        return b"".join(parts), results


def _numbers(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()
