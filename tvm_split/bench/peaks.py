"""What this machine can do at most, measured with the threads that the network gets: the roofline of its layers.

    seconds of a layer >= max(flops / peak, bytes / bandwidth of so many bytes)

The peak is one loop of multiply-adds on registers alone, on every thread; for layers of integers one of the dot product
instruction that their kernels use. Bandwidth is reading and adding up a block
again and again, for blocks from a first-level cache's size to main memory's; writing is slower, so this is a bound for
layers that write too. Both are the best of many short calls: a limit is what the machine reaches undisturbed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tvm

from tvm_split.bench.engines import ArrayType
from tvm_split.bench.peak_kernels import dot_products, multiply_add, read
from tvm_split.bench.worker import Worker
from tvm_split.passes.schedule.dot import Dot
from tvm_split.passes.schedule.dot_kinds import dot_of
from tvm_split.passes.schedule.machine import machine_of

#: independent multiply-adds in flight: more than latency x units of any processor here (4 x 2), few enough for the 16
#: registers of the smallest, with the two operands
CHAINS = 12
STEPS = 50_000
#: of one thread; a block's bandwidth holds from its size up to the next
BLOCKS_BYTES = (16 << 10, 128 << 10, 1 << 20, 8 << 20, 64 << 20)
READ_BYTES = 64 << 20
READ_CHAINS = 8
REPEATS = 100
PEAK, DOT_PEAK = "multiply_add", "dot_products"


@dataclass(frozen=True, slots=True)
class Limits:
    """`bandwidth`: size in bytes, of all threads together -> bytes a second.

    int8_ops_per_s: by the dot product instruction; None where none is known, and integers are taken to be as fast as
    floats.
    """

    flops_per_s: float
    bandwidth: Mapping[int, float]
    int8_ops_per_s: float | None = None

    def seconds(self, flops: int, size_bytes: int, *, int8: bool = False) -> float:
        """The least time that so much work can take. The bandwidth is that of the largest block that is not larger."""
        fitting = [size for size in self.bandwidth if size <= size_bytes] or [min(self.bandwidth)]
        rate = (self.int8_ops_per_s if int8 else None) or self.flops_per_s
        return max(flops / rate, size_bytes / self.bandwidth[max(fitting)])


def probes(target: tvm.target.Target, threads: int) -> tvm.IRModule:
    """The kernels that `measure` calls."""
    lanes = machine_of(target).lanes("float32")
    reads = {
        _reading(size): read(_reading(size), threads, size // 4, READ_CHAINS, lanes, _times(size))
        for size in BLOCKS_BYTES
    }
    dot = dot_of(target)
    dots = {} if dot is None else {DOT_PEAK: dot_products(DOT_PEAK, threads, CHAINS, STEPS, dot)}
    return tvm.IRModule({PEAK: multiply_add(PEAK, threads, CHAINS, lanes, STEPS), **dots, **reads})


def measure(worker: Worker, target: tvm.target.Target, threads: int) -> Limits:
    """Limits by the kernels of `probes`, which `worker` has loaded."""
    lanes = machine_of(target).lanes("float32")
    row: ArrayType = ((CHAINS * lanes,), "float32")
    best = min(worker.ask("seconds", PEAK, [row, row, ((threads, CHAINS * lanes), "float32")], REPEATS, 0))
    flops_per_s = 2 * threads * CHAINS * lanes * STEPS / best
    found: dict[int, float] = {}
    for size in BLOCKS_BYTES:
        types: list[ArrayType] = [((threads * size // 4,), "float32"), ((threads, READ_CHAINS * lanes), "float32")]
        taken = min(worker.ask("seconds", _reading(size), types, REPEATS, 0))
        found[threads * size] = threads * size * _times(size) / taken
    return Limits(flops_per_s, falling(found), _int8_ops_per_s(worker, dot_of(target), threads))


def _int8_ops_per_s(worker: Worker, dot: Dot | None, threads: int) -> float | None:
    if dot is None:
        return None
    sums = (threads, CHAINS, dot.pixels, max(dot.lanes))
    types: list[ArrayType] = [
        ((CHAINS, dot.pixels, dot.terms), dot.data), ((max(dot.lanes), dot.terms), dot.weight), (sums, "int32"),
    ]  # fmt: skip
    best = min(worker.ask("seconds", DOT_PEAK, types, REPEATS, 0))
    return float(2 * math.prod(sums) * dot.terms * STEPS / best)


def falling(bandwidth: Mapping[int, float]) -> dict[int, float]:
    """The same, where no block is slower than a larger one: what says so is noise."""
    made, best = {}, 0.0
    for size in sorted(bandwidth, reverse=True):
        best = max(best, bandwidth[size])
        made[size] = best
    return dict(sorted(made.items()))


def _reading(size: int) -> str:
    return f"read_{size}"


def _times(size: int) -> int:
    """How often one call reads the block: calls are short, but long beside the start of the threads."""
    return max(1, READ_BYTES // size)
