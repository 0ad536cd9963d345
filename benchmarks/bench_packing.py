"""Packing and unpacking beside memcpy: the ratio of the two rates, in bytes of the tensor a second.

    pytest benchmarks/bench_packing.py --benchmark-json=benchmarks/results/packing.json

Before each round of a kernel the same tensor is copied, and that is timed too; the ratio is of the medians. memcpy is
NumPy's copy, on one thread. The kernels are those that the edge module ends in and the cloud module begins with, on all
cores and then on one: TVM's pool can only shrink.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import pytest
import tvm

from tvm_split.graph import Tensor
from tvm_split.passes.pack_kernels import pack_kernel, unpack_kernel
from tvm_split.plan.problem import WIDTHS
from tvm_split.runtime.executor import use_threads
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

ELEMENTS = 4_000_000
ROUNDS = 50
KINDS = ("pack", "unpack")
THREADS = sorted({len(os.sched_getaffinity(0)), 1}, reverse=True)
Ratios = dict[tuple[int, int, str], float]


def tensor_of(bits: int) -> Tensor:
    return Tensor("x", (ELEMENTS,), "float32" if bits == 32 else "uint16" if bits == 16 else "uint8")


@functools.cache
def kernel(kind: str, bits: int) -> Callable[..., None]:
    """The compiled kernel, called with tensor and payload, or payload and tensor."""
    tensor, size = tensor_of(bits), -(-ELEMENTS * bits // 8)
    function = pack_kernel(tensor, bits) if kind == "pack" else unpack_kernel(tensor, bits, 0, size)
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return tvm.compile(mod, target=resolve(load_target("host"))).mod["main"]


@pytest.fixture(scope="module", params=THREADS, ids=lambda threads: f"threads-{threads}")
def threads(request: pytest.FixtureRequest) -> int:
    return use_threads(request.param)


@pytest.fixture(scope="module")
def ratios(tell: Callable[[str], None]) -> Iterator[Ratios]:
    """(threads, bits, kind) -> memcpy's median seconds over the kernel's; printed at the end."""
    found: Ratios = {}
    yield found
    if found:
        tell(f"rate over memcpy's: {'threads':>8}{'bits':>6}{'pack':>8}{'unpack':>8}   (at 8 bits: at least 0.25)")
    for threads, bits in dict.fromkeys(key[:2] for key in found):
        values = (found.get((threads, bits, kind)) for kind in KINDS)
        tell(f"{threads:>28}{bits:>6}" + "".join(f"{'-' if x is None else format(x, '.2f'):>8}" for x in values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_packing(benchmark: Any, threads: int, ratios: Ratios, bits: int, kind: str) -> None:
    tensor = tensor_of(bits)
    codes = np.random.default_rng(0).integers(0, 2 ** min(bits, 16), ELEMENTS).astype(tensor.dtype)
    data, back = tvm.runtime.tensor(codes), tvm.runtime.tensor(np.zeros_like(codes))
    payload = tvm.runtime.tensor(np.zeros(-(-ELEMENTS * bits // 8), np.uint8))
    kernel("pack", bits)(data, payload)
    copied, copies = np.empty_like(codes), []

    def copy() -> None:
        start = time.perf_counter()
        np.copyto(copied, codes)
        copies.append(time.perf_counter() - start)

    arguments = (data, payload) if kind == "pack" else (payload, back)
    benchmark.group = f"{kind}, threads: {threads}"
    benchmark.pedantic(kernel(kind, bits), arguments, setup=copy, rounds=ROUNDS, warmup_rounds=1)
    kernel("unpack", bits)(payload, back)
    assert np.array_equal(back.numpy(), codes)
    if benchmark.stats:
        copy_s = median(copies)
        ratios[threads, bits, kind] = copy_s / benchmark.stats["median"]
        benchmark.extra_info |= {"bits": bits, "threads": threads, "tensor_bytes": codes.nbytes, "memcpy_s": copy_s,
                                 "rate_over_memcpy": ratios[threads, bits, kind]}  # fmt: skip
