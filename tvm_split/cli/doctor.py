"""`tvm-split doctor`: what this machine has, and for what it lacks, the command that gets it."""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import click

from tvm_split.cli.command import SplitCommand
from tvm_split.errors import SplitError

PYTHON = (3, 11)
#: optional dependencies of tvm-split: the package that each brings
EXTRAS = {"tflite": "tflite", "plot": "matplotlib", "systolic": "scalesim"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `mend` says what to do, '' when all is well; `needed` tells an error from a mere limitation."""

    what: str
    found: str
    mend: str = ""
    needed: bool = True


@click.command(cls=SplitCommand, short_help="Check this machine; say how to get what is missing.")
def doctor() -> None:
    """Check Python, TVM, linkers, llvm-mca, optional packages, threads, the cache and the plugin.

    Exit code 1 when something needed is missing.
    """
    failed = False
    for check in CHECKS:
        finding = check()
        mark = "ok" if not finding.mend else "MISSING" if finding.needed else "note"
        failed |= mark == "MISSING"
        click.echo(f"{mark:8}{finding.what}: {finding.found}")
        if finding.mend:
            click.echo(f"{'':8}-> {finding.mend}")
    if failed:
        sys.exit(1)


def python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON))
    return Finding("Python", found, "" if sys.version_info >= PYTHON else f"install Python {wanted} or newer")


def tvm_version() -> Finding:
    return _pinned("apache-tvm", "Apache TVM")


def ffi_version() -> Finding:
    return _pinned("apache-tvm-ffi", "TVM's FFI")


def _pinned(package: str, what: str) -> Finding:
    """The installed version against the one that tvm-split's own metadata pins."""
    pins = [re.match(rf"{package}(?:\[[^]]*\])?==([^;\s]+)", line) for line in metadata.requires("tvm-split") or ()]
    wanted = next((pin[1] for pin in pins if pin), "")
    mend = f"pip install '{package}=={wanted}'" if wanted else f"pip install {package}"
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Finding(what, "not installed", mend)
    return Finding(what, found, mend if wanted and found != wanted else "")


def llvm() -> Finding:
    what = "TVM's LLVM"
    try:
        codegen = importlib.import_module("tvm.target.codegen")
        targets = {str(name) for name in codegen.llvm_get_targets()}
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding(
            what, f"TVM does not start ({type(error).__name__}: {first})", "pip install --force-reinstall apache-tvm"
        )
    missing = {"aarch64", "x86_64"} - targets
    mend = f"install a TVM whose LLVM has {', '.join(sorted(missing))}: pip install apache-tvm" if missing else ""
    return Finding(what, f"version {codegen.llvm_version_major()}, {len(targets)} architectures", mend)


def linker_aarch64() -> Finding:
    return _linker("aarch64")


def linker_x86_64() -> Finding:
    return _linker("x86_64")


def _linker(arch: str) -> Finding:
    from tvm_split.linker import find_linker

    try:
        return Finding(f"linker for {arch}", " ".join(find_linker(arch).command))
    except SplitError as error:
        return Finding(f"linker for {arch}", "none", str(error))


def llvm_mca() -> Finding:
    from tvm_split.assembly.mca import find_tool, version_of

    try:
        path = find_tool()
        return Finding("llvm-mca, for --costs mca", f"{path}, version {version_of(path)}")
    except SplitError as error:
        return Finding("llvm-mca, for --costs mca", "none", str(error), needed=False)


def extras() -> Finding:
    lacking = {}
    for extra, package in EXTRAS.items():
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            lacking[extra] = package
    have = [package for package in EXTRAS.values() if package not in lacking.values()]
    mend = f"for {', '.join(lacking.values())}: pip install 'tvm-split[{','.join(lacking)}]'" if lacking else ""
    return Finding("optional packages", ", ".join(have) or "none", mend, needed=False)


def threads() -> Finding:
    """TVM's own thread count against the cores it may use. `run` sets its processes' threads itself."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        count = int(importlib.import_module("tvm").get_global_func("runtime.NumThreads")())
    except Exception as error:
        return Finding("threads", f"TVM does not say how many ({type(error).__name__})", "see TVM's LLVM above", False)
    given = os.environ.get("TVM_NUM_THREADS")
    found = f"{cores} cores to use, TVM takes {count} threads" + (f" (TVM_NUM_THREADS={given})" if given else "")
    return Finding(
        "threads",
        found,
        "" if count == cores else f"run uses all cores anyway; for scripts of yours: export TVM_NUM_THREADS={cores}",
        needed=False,
    )


def cache() -> Finding:
    from tvm_split.zoo.cache import folder

    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return Finding("cache of networks", f"{place} can be written")
    except OSError as error:
        return Finding(
            "cache of networks", f"{place}: {error.strerror}", "set TVM_SPLIT_CACHE to a folder you may write"
        )


def plugin() -> Finding:
    from tvm_split.plugin import PREFIX

    what = "plugin of TVM"
    if os.environ.get("TVM_DEVICE_BACKEND_AUTOLOAD", "1") == "0":
        return Finding(what, "switched off by TVM_DEVICE_BACKEND_AUTOLOAD=0", "unset TVM_DEVICE_BACKEND_AUTOLOAD")
    if not any(entry.name == "tvm_split" for entry in metadata.entry_points(group="tvm.backends")):
        return Finding(what, "its entry point is not installed", "pip install -e . (or pip install tvm-split) again")
    try:
        tags = [str(name) for name in importlib.import_module("tvm").target.list_tags() if str(name).startswith(PREFIX)]
    except Exception as error:
        return Finding(what, f"TVM does not start ({type(error).__name__})", "see TVM's LLVM above")
    mend = "" if tags else "run `python -c 'import tvm'`: its warning tells why the plugin failed"
    return Finding(what, f"registered, {len(tags)} target tags {PREFIX}*", mend)


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, tvm_version, ffi_version, llvm, linker_aarch64, linker_x86_64, llvm_mca, extras, threads, cache, plugin,
)  # fmt: skip
