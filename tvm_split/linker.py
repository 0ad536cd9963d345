"""Find a program that links shared libraries for an architecture, and wrap it for `export_library(fcompile=...)`.

    find_linker("aarch64")   TVM_SPLIT_AARCH64_CC, else aarch64-linux-gnu-gcc on PATH, else ziglang from PyPI
    find_linker("x86_64")    TVM_SPLIT_X86_64_CC, else x86_64-linux-gnu-gcc on PATH, else ziglang from PyPI

For the machine it runs on, cc, gcc and clang come before the cross compiler.
The same objects give the same bytes with the same linker: no build id, no debug sections, no paths. A library linked by
a Debian compiler may ask for that Debian's C library; one that zig linked runs on any system with glibc 2.28 or newer.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tvm_split.errors import BuildError

GLIBC = "2.28"
FLAGS = ("-shared", "-fPIC", "-O2", "-Wl,--build-id=none", "-Wl,--strip-debug")
PACKAGES = {"aarch64": "gcc-aarch64-linux-gnu", "x86_64": "gcc-x86-64-linux-gnu"}
TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Linker:
    """Links objects of one architecture into a shared library. `command` is what comes before the flags."""

    arch: str
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(default=())

    output_format: ClassVar[str] = "so"

    def get_target_triple(self) -> str:
        """Asked by TVM when no module of the library was made by LLVM."""
        return f"{self.arch}-linux-gnu"

    def __call__(self, output: str | Path, objects: str | Sequence[str], options: Sequence[str] | None = None) -> None:
        """Link `objects` (object files, C sources) into `output`. BuildError, and no output, when the command fails."""
        files = [objects] if isinstance(objects, str) else list(objects)
        command = [*self.command, *FLAGS, *(options or ()), "-o", str(output), *files, "-lm"]
        try:
            done = subprocess.run(
                command, env={**os.environ, **dict(self.env)}, capture_output=True, text=True, errors="replace"
            )
        except OSError as error:
            raise BuildError(f"the {self.arch} linker cannot be started ({error}): {shlex.join(command)}") from error
        if done.returncode:
            Path(output).unlink(missing_ok=True)
            tail = "\n".join((done.stderr or done.stdout).splitlines()[-TAIL_LINES:])
            raise BuildError(
                f"linking {output} for {self.arch} failed with exit status {done.returncode}:\n  "
                f"{shlex.join(command)}\n{tail}{self._advice(tail)}"
            )

    def _advice(self, tail: str) -> str:
        if "crti.o" not in tail:
            return ""
        package = f"libc6-dev-{'arm64' if self.arch == 'aarch64' else 'amd64'}-cross"
        return (
            f"\nThe compiler lacks its C library: `apt-get install {package}`, or set {variable(self.arch)} to another"
        )


def variable(arch: str) -> str:
    """The environment variable that names the compiler for an architecture, with its first arguments."""
    return f"TVM_SPLIT_{arch.upper()}_CC"


def find_linker(arch: str) -> Linker:
    """The linker for `arch` ("aarch64" or "x86_64"). BuildError with every way to get one when there is none."""
    if arch not in PACKAGES:
        raise BuildError(f"no linker is known for architecture {arch!r}; expected one of {', '.join(sorted(PACKAGES))}")
    if given := os.environ.get(variable(arch)):
        return Linker(arch, _given(arch, given))
    for name in _compilers(arch):
        if path := shutil.which(name):
            return Linker(arch, (path,))
    if importlib.util.find_spec("ziglang") is not None:
        cache = str(_zig_cache())
        command = (
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            f"{arch}-linux-gnu.{GLIBC}",
            "-fno-sanitize=undefined",
        )
        return Linker(arch, command, (("ZIG_GLOBAL_CACHE_DIR", cache), ("ZIG_LOCAL_CACHE_DIR", cache)))
    raise BuildError(
        f"nothing here links for {arch}: tried {', '.join(_compilers(arch))} on PATH and the ziglang package; "
        f"`apt-get install {PACKAGES[arch]}` or `pip install 'tvm-split[arm]'` gets one, or set {variable(arch)}"
    )


def _given(arch: str, given: str) -> tuple[str, ...]:
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise BuildError(f"{variable(arch)}={given!r} is not a command line: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise BuildError(
            f"{variable(arch)}={given!r}: {words[0] if words else 'nothing'} is not a program on PATH; expected a "
            "compiler and its first arguments, e.g. 'aarch64-linux-gnu-gcc'. Correct it or unset it"
        )
    return tuple(words)


def _compilers(arch: str) -> Iterator[str]:
    if platform.system() == "Linux" and platform.machine() == arch:
        yield from ("cc", "gcc", "clang")
    yield f"{arch}-linux-gnu-gcc"


def _zig_cache() -> Path:
    """A folder that zig may fill (with the C library's stubs, once): ZIG_GLOBAL_CACHE_DIR, ours, or a temporary one."""
    if given := os.environ.get("ZIG_GLOBAL_CACHE_DIR"):
        return Path(given)
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    for place in (root / "tvm-split" / "zig", Path(tempfile.gettempdir()) / f"tvm-split-zig-{os.getuid()}"):
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(place, os.W_OK) and place.stat().st_uid == os.getuid():
            return place
    return Path(tempfile.mkdtemp(prefix="tvm-split-zig-"))
