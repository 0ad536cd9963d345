"""Packing and unpacking beside memcpy: bytes of the tensor a second, and the ratio of the two rates in one run.

    python benchmarks/packing.py [--elements 4000000] [--json FILE]

Each round times the copy and the kernel one after the other; the ratio is of the medians. memcpy is NumPy's copy of the
same tensor of codes. The kernels are those that the edge module ends in and the cloud module begins with.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count()))

import numpy as np
import tvm

from tvm_split.graph import Tensor
from tvm_split.passes.pack_kernels import pack_kernel, unpack_kernel
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

WIDTHS = (("uint8", 1), ("uint8", 2), ("uint8", 4), ("uint8", 6), ("uint8", 8), ("uint16", 16), ("float32", 32))
ROUNDS = 30


def compiled(kernel: tvm.tirx.PrimFunc) -> object:
    mod = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    return tvm.compile(mod, target=resolve(load_target("host"))).mod["main"]


def seconds(work: object, *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def measure(elements: int, dtype: str, bits: int) -> dict[str, float | int]:
    tensor = Tensor("x", (elements,), dtype)
    random = np.random.default_rng(0)
    codes = random.integers(0, 2 ** min(bits, 16), elements).astype(dtype)
    size = -(-elements * bits // 8)
    data, payload = tvm.runtime.tensor(codes), tvm.runtime.tensor(np.zeros(size, np.uint8))
    back, copy = tvm.runtime.tensor(np.zeros(elements, dtype)), np.empty_like(codes)
    pack, unpack = compiled(pack_kernel(tensor, bits)), compiled(unpack_kernel(tensor, bits, 0, size))
    times: dict[str, list[float]] = {"copy": [], "pack": [], "unpack": []}
    for _ in range(ROUNDS):
        times["copy"].append(seconds(np.copyto, copy, codes))
        times["pack"].append(seconds(pack, data, payload))
        times["unpack"].append(seconds(unpack, payload, back))
    if not np.array_equal(back.numpy(), codes):
        raise SystemExit(f"{bits} bits: unpack(pack(x)) is not x")
    copied = median(times["copy"])
    return {"bits": bits, "memcpy_gb_per_s": codes.nbytes / copied / 1e9,
            "pack_ratio": copied / median(times["pack"]), "unpack_ratio": copied / median(times["unpack"])}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=4_000_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [measure(args.elements, dtype, bits) for dtype, bits in WIDTHS]
    for row in rows:
        print("  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps({"elements": args.elements, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
