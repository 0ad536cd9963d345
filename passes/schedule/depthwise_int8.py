"""Depthwise convolutions in words of several values (kernels/depthwise_int8.py).

    Given:   words[t, g, w, c];  sums[t, r, w, c] of dot products of words and weights;  what follows, on [h, w, c]
    Result:  parallel over (image, rows that share words, vector of channels):
               for g, w: a vector of words, in the first cache
               for r: for tile of pixels: vectors of sums in registers; bias, scale, rounding and so on of each

Conditions of padding are on the words alone: LoopPartition takes the columns' off the loop. Whole numbers: there is no
order of summation to keep.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule
from tvm.s_tir.schedule import LoopRV

from tvm_split.passes.kernels.depthwise_int8 import WORD_SUMS, WORDS
from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    PARTITION,
    dividing_lanes,
    inline_spatial,
    kernel_of,
)
from tvm_split.passes.schedule.machine import machine_of

#: pixels of a tile
PIXELS = 4


class DepthwiseInt8(ScheduleRule):
    """Functions of words, their sums, and one spatial block."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        kernels = [kernel_of(sch, rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]
        if WORD_SUMS not in kernels:
            return None
        blocks = inline_spatial(sch, kept=(WORDS, WORD_SUMS))
        if blocks is None or len(blocks) != 3 or not all(block.is_spatial for block in blocks):
            return None
        words, sums, last = blocks
        if kernel_of(sch, words.rv) != WORDS or kernel_of(sch, sums.rv) != WORD_SUMS or len(last.extents) != 4:
            return None
        rows = sums.extents[2]
        lanes = dividing_lanes(machine_of(target), "int32", last.extents[3])
        _, blocks_, groups, columns, _ = words.extents
        taken = _blocks(
            blocks_, groups * columns * lanes * 4, last.extents[0] * last.extents[3] // lanes, machine_of(target)
        )
        n, h, w, c = sch.get_loops(last.rv)
        chunk, block, row = sch.split(h, [None, taken, rows])
        tile, pixel = sch.split(w, [None, _pixels(last.extents[2])])
        vector, lane = sch.split(c, [None, lanes])
        sch.reorder(n, chunk, vector, block, row, tile, pixel, lane)
        task = sch.fuse(n, chunk, vector)
        if sums.steps * 9 >= PARALLEL_STEPS:
            sch.parallel(task)
        sch.compute_at(sums.rv, tile, preserve_unit_loops=True)
        sch.compute_at(words.rv, task, preserve_unit_loops=True)
        _written_out(sch, list(sch.get_loops(sums.rv))[-5:])
        _written_out(sch, [pixel, lane])
        *_, block, group, column, channel = sch.get_loops(words.rv)
        sch.annotate(column, PARTITION, 1)
        if taken == blocks_:
            sch.annotate(block, PARTITION, 1)
        sch.vectorize(channel)
        sch.unroll(group)
        return sch


def _written_out(sch: s_tir.Schedule, loops: list[LoopRV]) -> None:
    for loop in loops[:-1]:
        sch.unroll(loop)
    sch.vectorize(loops[-1])


def _blocks(blocks: int, block_bytes: int, tasks: int, machine) -> int:
    fits = (n for n in range(blocks, 1, -1) if blocks % n == 0 and n * block_bytes <= machine.l1_bytes * 3 // 4)
    return next((n for n in fits if tasks * (blocks // n) >= 4 * machine.cores), 1)


def _pixels(width: int) -> int:
    return next((p for p in (7, 6, 5, 4) if width % p == 0), PIXELS)
