"""Sums, means, maxima: one reduced block, what feeds it inlined, what follows it in the same loops.

    Given:   for c: for h, w: red[c] = red[c] + x[h, w, c];   for c: out[c] = red[c] / 49
    Result:  for c0 in parallel: (for h, w: for c1 in 16: acc[c1] += x[h, w, 16 c0 + c1]);  for c1: out = acc[c1] / 49

Where the axis that is contiguous in memory is kept, it becomes vectors. Where it is reduced, sums of LONG terms or more
are made in PARTIAL partial sums; shorter ones by several rows at a time. The order of a sum changes in the second case
alone, and by any order a float32 sum of n terms is within n * 2^-24 * sum(|x|) of the exact one, to first order;
partial sums are closer. How many there are follows from the shape, never from the processor: an edge and its twin must
give the same bits. Maxima and minima have no order.
"""

from __future__ import annotations

import math

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    PARTITION,
    Block,
    block_of,
    dividing_lanes,
    extent_of,
    inline_spatial,
    opened,
)
from tvm_split.passes.schedule.elementwise import schedule_spatial
from tvm_split.passes.schedule.machine import Machine, machine_of

#: terms from which a sum over the contiguous axis is worth partial sums
LONG = 64
#: terms up to which LLVM writes out a sum of products
SHORT = 16
#: vectors that hide the latency of an addition
CHAINS = 4
#: partial sums of a long sum: CHAINS of the widest vectors of float32 that there are
PARTIAL = 64
ROWS = 8
#: partial sums below which the latency of an addition is no longer hidden
MIN_PARTIAL = 8
#: how many partial sums there are when they are no whole vectors
LEAST_ODD, MOST_ODD = 16, 257


class Reduction(ScheduleRule):
    """Functions with one reduced block, and at most one spatial block after it when all that can be is inlined."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = opened(func)
        blocks = inline_spatial(sch)
        if blocks is None:
            return None
        reduced = [i for i, block in enumerate(blocks) if not block.is_spatial]
        if len(reduced) != 1 or reduced[0] < len(blocks) - 2:
            return None
        return sch if reduce(sch, blocks[: reduced[0]], blocks[reduced[0]], machine_of(target)) else None


def reduce(sch: s_tir.Schedule, before: list[Block], reduction: Block, machine: Machine) -> bool:
    """Schedule the reduction with the block that reads it, and those before it by themselves. False: not recognised."""
    readers = sch.get_consumers(reduction.rv)
    axis = contiguous(reduction)
    if len(readers) > 1 or axis is None:
        return False
    terms = math.prod(e for kind, e in zip(reduction.kinds, reduction.extents, strict=True) if kind == "R")
    if len(reduction.reads()) > 1 and not _worth_it(reduction, axis, terms, machine):
        return False
    for block in before:
        schedule_spatial(sch, block)
    out = readers[0] if readers else sch.cache_write(reduction.rv, 0, "global")
    after = block_of(sch, out)
    if after is None or not after.is_spatial or after.elements != reduction.elements:
        return False
    if reduction.kinds[axis] == "S":
        keep_contiguous(sch, reduction, axis, after, machine)
    else:
        _reduce_contiguous(sch, reduction, after, machine)
    return True


def _worth_it(products: Block, axis: int, terms: int, machine: Machine) -> bool:
    """Whether a sum of products gains: short ones, and rows of no whole number of vectors, are better as written."""
    if products.kinds[axis] == "R":
        return terms >= LONG
    extent, lanes = products.extents[axis], machine.lanes(products.dtype)
    return terms > SHORT and (dividing_lanes(machine, products.dtype, extent) >= 4 or extent >= 4 * lanes)


def contiguous(block: Block) -> int | None:
    """The iterator that walks the reads of a block element by element or not at all; a kept one if there is one."""

    def walks(i: int) -> set[int | None]:
        return {walk[i] for walk in block.reads()}

    kept = [i for i, step in enumerate(block.strides[-1]) if step == 1 and block.extents[i] >= 4]
    reduced = [i for i, kind in enumerate(block.kinds) if kind == "R"]
    for i in (*kept, *reduced):
        if 1 in walks(i) and walks(i) <= {0, 1}:
            return i
    return None


def keep_contiguous(sch: s_tir.Schedule, reduction: Block, axis: int, after: Block, machine: Machine) -> None:
    """Vectors along `axis`, kept, which is the last axis of `after` with more than one element."""
    loops = list(sch.get_loops(after.rv))
    vector = max((i for i, extent in enumerate(after.extents) if extent > 1), default=len(loops) - 1)
    extent = after.extents[vector]
    lanes = dividing_lanes(machine, after.dtype, extent)
    if lanes < 4:
        lanes = min(machine.lanes(after.dtype), 1 << (extent.bit_length() - 1))
    vectors = next(n for n in (CHAINS, CHAINS // 2, 1) if n == 1 or extent % (n * lanes) == 0)
    task, tile = sch.split(loops[vector], [None, lanes * vectors])
    outer = [loop for i, loop in enumerate(loops) if i != vector]
    sch.reorder(*outer, task, tile)
    if extent % (lanes * vectors):
        sch.annotate(task, PARTITION, 1)
    else:
        task = sch.fuse(*outer, task) if outer else task
        outer = [task]
    if reduction.steps >= PARALLEL_STEPS and outer:
        whole = sch.fuse(*outer) if len(outer) > 1 else outer[0]
        sch.parallel(whole)
    sch.compute_at(reduction.rv, task, preserve_unit_loops=True)
    inside = list(sch.get_loops(reduction.rv))[-len(reduction.kinds) :]
    kept = [loop for i, loop in enumerate(inside) if reduction.kinds[i] == "S" and i != axis]
    terms = [loop for i, loop in enumerate(inside) if reduction.kinds[i] == "R"]
    sch.reorder(*terms, *kept, inside[axis])
    _vectors(sch, inside[axis], lanes)
    sch.decompose_reduction(reduction.rv, terms[0])
    _vectors(sch, tile, lanes)


def _vectors(sch: s_tir.Schedule, loop: LoopRV, lanes: int) -> None:
    """Vectors of `lanes`, one after the other, written out."""
    several, vector = sch.split(loop, [None, lanes])
    sch.unroll(several)
    sch.vectorize(vector)


def _reduce_contiguous(sch: s_tir.Schedule, reduction: Block, after: Block, machine: Machine) -> None:
    partial = partial_sums(sch, reduction)
    loops = sch.get_loops(after.rv)
    rows = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    if partial is None:
        rows, tile = sch.split(rows, [None, _divisor(after.elements)])
    if reduction.steps >= PARALLEL_STEPS and after.elements > 1:
        sch.parallel(rows)
    sch.compute_at(reduction.rv, rows, preserve_unit_loops=True)
    if partial is not None:
        place_partial(sch, partial, rows, machine)
        return
    inside = list(sch.get_loops(reduction.rv))[-len(reduction.kinds) :]
    kept = [loop for loop, kind in zip(inside, reduction.kinds, strict=True) if kind == "S"]
    terms_of = [loop for loop, kind in zip(inside, reduction.kinds, strict=True) if kind == "R"]
    sch.reorder(*terms_of, *kept)
    for loop in (*kept, tile):
        sch.unroll(loop)
    sch.decompose_reduction(reduction.rv, terms_of[0])


def _divisor(rows: int) -> int:
    return next(i for i in range(ROWS, 0, -1) if rows % i == 0)


def partial_sums(sch: s_tir.Schedule, reduction: Block) -> SBlockRV | None:
    """Split the reduction into partial results, a few vectors of them, and what reduces those.

    The block of the first is returned; None when nothing divides the terms, for `rfactor` loses the end of a loop.
    """
    terms = math.prod(e for kind, e in zip(reduction.kinds, reduction.extents, strict=True) if kind == "R")
    count = math.gcd(terms, PARTIAL)
    if count < MIN_PARTIAL:
        count = next((n for n in range(LEAST_ODD, MOST_ODD) if terms % n == 0), 0)
    if not count or terms < LONG:
        return None
    loops = [loop for loop, kind in zip(sch.get_loops(reduction.rv), reduction.kinds, strict=True) if kind == "R"]
    fused = sch.fuse(*loops) if len(loops) > 1 else loops[0]
    _, lane = sch.split(fused, [None, count])
    return sch.rfactor(lane, reduction.kinds.count("S"))


def place_partial(sch: s_tir.Schedule, partial: SBlockRV, at: LoopRV, machine: Machine) -> None:
    sch.compute_at(partial, at, preserve_unit_loops=True)
    iterators = sch.get(partial).iter_vars
    inside = list(sch.get_loops(partial))[-len(iterators) :]
    terms = [loop for loop, i in zip(inside, iterators, strict=True) if i.iter_type == tirx.IterVar.CommReduce]
    kept = [loop for loop, i in zip(inside, iterators, strict=True) if i.iter_type != tirx.IterVar.CommReduce]
    lane = max(kept, key=lambda loop: extent_of(sch, loop))
    sch.reorder(*terms, *(loop for loop in kept if loop is not lane), lane)
    lanes = dividing_lanes(machine, str(sch.get(partial).writes[0].source.dtype), extent_of(sch, lane))
    if lanes >= MIN_PARTIAL:
        _vectors(sch, lane, lanes)
    sch.decompose_reduction(partial, terms[0])
