"""This machine as a target, from what Linux says about its processor. No TVM: `mcpu = "native"` is resolved later.

`baseline` is what half twins are compiled for: not this very processor, but any of its kind made in about ten years.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from types import MappingProxyType

from tvm_split.caches import L1, L2, cache_bytes
from tvm_split.errors import TargetError
from tvm_split.targets.spec import TargetSpec

#: the name of the target that is this machine, whichever it is
HOST = "host"
#: a flag in /proc/cpuinfo -> SIMD bits, and float32 operations of one core in a cycle; the first flag found counts.
#: One 512-bit or two 256-bit or one 128-bit multiply-add pipes: some processors have more, so peaks may be too low.
SIMD = {"avx512f": (512, 32), "fma": (256, 32), "sse2": (128, 8), "asimd": (128, 8)}
#: a flag in /proc/cpuinfo -> products of 8 bits in the time of one of float32, by our kernels; the first found counts
INTEGERS = {"avx512_vnni": 4, "avx_vnni": 4, "asimddp": 4, "asimd": 2}
#: architecture -> LLVM's processor of a twin. Both have fused multiply-add, which TVM's LLVM forms wherever it may: the
#: bytes of a payload depend on it, so a baseline without it (x86-64-v2) would make other payloads than boards do.
BASELINES = {"x86_64": "x86-64-v3", "aarch64": "generic"}
ARCHS = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

#: share of the peak that scheduled kernels reach: see tvm_split/profile/roofline.py
EFFICIENCY = {"x86_64": 0.8, "aarch64": 0.5}
BANDWIDTH_BYTES_PER_S = 20e9
LAYER_OVERHEAD_S = 10e-6

SOURCES = {
    "cores": "os.cpu_count(); the same threads as TVM's target gets",
    "memory_bytes": "os.sysconf: pages of physical memory",
    "vector_bits": "/proc/cpuinfo: widest of avx512f, fma, sse2, asimd",
    "clock_hz": "cpufreq's highest, else that of /proc/cpuinfo, in a virtual machine the base clock",
    "peak_flops_per_s": "cores x clock x 32 (AVX-512 or AVX2 with FMA) or 8 (SSE2, NEON) operations a cycle; the clock "
    "is cpufreq's highest, else that of /proc/cpuinfo, in a virtual machine the base clock: the processor may do more",
    "peak_int8_ops_per_s": "4 times the float32 rate with dot products of 8 bits (VNNI, asimddp), twice with NEON "
    "alone; without either it is not known",
    "l1_bytes": "/sys/devices/system/cpu/cpu0/cache",
    "l2_bytes": "/sys/devices/system/cpu/cpu0/cache",
    "memory_bandwidth_bytes_per_s": "assumption: 20 GB/s; a warm numpy copy of 400 MB on one core of an AMD EPYC moved "
    "22 GB/s, read and written. Not measured at load time, so that plans repeat",
    "layer_overhead_s": "assumption, after a measurement on an AMD EPYC: see tvm_split/profile/roofline.py",
    "efficiency": "scheduled kernels, measured on an AMD EPYC; an assumption on ARM: see tvm_split/profile/roofline.py",
}


def host() -> TargetSpec:
    """This machine. TargetError when its processor or its clock cannot be told: write a target file instead."""
    arch = _known_machine()
    cpuinfo = _read("/proc/cpuinfo")
    flags = set(re.findall(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)[:1] or [""])
    words = set(" ".join(flags).split())
    simd = next((SIMD[flag] for flag in SIMD if flag in words), None)
    if simd is None:
        raise TargetError(f"target 'host': /proc/cpuinfo names none of {', '.join(SIMD)}; write a target file instead")
    vector_bits, flops_per_cycle = simd
    integers = next((INTEGERS[flag] for flag in INTEGERS if flag in words), None)
    cores, clock_hz = os.cpu_count() or 1, _clock_hz(cpuinfo)
    return TargetSpec(
        name=HOST,
        description=f"This machine, {platform.machine()}, {cores} cores at {clock_hz / 1e9:.3g} GHz",
        kind="both",
        arch="x86_64" if arch == "x86_64" else "aarch64",
        cores=cores,
        peak_flops_per_s=cores * clock_hz * flops_per_cycle,
        peak_int8_ops_per_s=None if integers is None else cores * clock_hz * flops_per_cycle * integers,
        clock_hz=clock_hz,
        memory_bandwidth_bytes_per_s=BANDWIDTH_BYTES_PER_S,
        layer_overhead_s=LAYER_OVERHEAD_S,
        efficiency=EFFICIENCY["x86_64" if arch == "x86_64" else "aarch64"],
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        tvm_target=MappingProxyType({"kind": "llvm", "mcpu": "native"}),
        vector_bits=vector_bits,
        l1_bytes=cache_bytes(*L1),
        l2_bytes=cache_bytes(*L2),
        sources=MappingProxyType(SOURCES),
    )


def processor() -> str:
    """The model of this machine's processor, as Linux names it; "" when it does not."""
    found = re.search(r"^model name\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else ""


def baseline() -> tuple[str, str]:
    """Architecture of this machine, and LLVM's name of the processor that its twins are compiled for."""
    arch = _known_machine()
    return arch, BASELINES[arch]


def machine() -> str:
    """This machine's architecture as targets name it; for one that no target has, its own name."""
    return ARCHS.get(platform.machine(), platform.machine())


def _known_machine() -> str:
    """`machine`; TargetError when no target has that architecture."""
    if machine() not in ARCHS.values():
        raise TargetError(f"target 'host': this machine is '{machine()}'; expected {' or '.join(ARCHS)}")
    return machine()


def _clock_hz(cpuinfo: str) -> float:
    """Highest clock that cpufreq allows, else the one in /proc/cpuinfo; TargetError when neither is there."""
    limit = _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").strip()
    if limit.isdigit():
        return float(limit) * 1e3
    clocks = re.findall(r"^cpu MHz\s*:\s*([0-9.]+)", cpuinfo, re.MULTILINE)
    if not clocks:
        raise TargetError(
            "target 'host': neither cpufreq nor /proc/cpuinfo tells this machine's clock; write a target file "
            "with peak_flops_per_s and give its path"
        )
    return max(map(float, clocks)) * 1e6


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
