"""Depthwise convolutions in words of several values (kernels/depthwise_int8.py).

    Given:   words[wh, ww, c];  sums[t, r, u, q, c] of dot products of words and weights;  what follows, on [h, w, c];
             perhaps weights that are made in stages (decode, weave)
    Result:  parallel over (image, rows, vector of channels):
               vectors of weights, where they are made
               for wh, ww: a vector of words, in the first cache
               for t, r: for tile of pixels: vectors of sums in registers; bias, scale, rounding and so on of each

Conditions of padding are on the words alone: LoopPartition takes the columns' off the loop, and the rows' where a task
has all rows. Whole numbers: there is no order of summation to keep.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvm_split.passes.kernels.depthwise_int8 import WEAVE, WORD_SUMS, WORDS
from tvm_split.passes.kernels.stored import DECODE
from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    PARTITION,
    dividing_lanes,
    inline_spatial,
    kernel_of,
    opened,
)
from tvm_split.passes.schedule.depthwise import written_out
from tvm_split.passes.schedule.machine import Machine, machine_of

#: pixels of a tile: the least, and the most with few registers: to keep some sums in memory costs less than short tiles
MIN_PIXELS, MAX_PIXELS = 4, 7
#: tasks for each core
TASKS = 4
WORD_BYTES = 4


class DepthwiseInt8(ScheduleRule):
    """Functions of words, their sums, and one spatial block."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch, machine = s_tir.Schedule(func), machine_of(target)
        kernels = [kernel_of(sch, rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]
        if WORD_SUMS not in kernels:
            return None
        sch = opened(func)
        blocks = inline_spatial(sch, kept=(WORDS, WORD_SUMS, DECODE, WEAVE))
        if blocks is None or not all(block.is_spatial for block in blocks):
            return None
        weights = [block.rv for block in blocks if kernel_of(sch, block.rv) in (DECODE, WEAVE)]
        blocks = [block for block in blocks if block.rv not in weights]
        if [kernel_of(sch, block.rv) for block in blocks[:-1]] != [WORDS, WORD_SUMS] or len(blocks[-1].extents) != 4:
            return None
        words, sums, last = blocks
        _, height, rows, _, columns, _ = sums.extents
        images, _, width, channels = last.extents
        lanes = dividing_lanes(machine, "int32", channels)
        row_bytes = words.extents[2] * lanes * WORD_BYTES
        taken = rows_of_task(height, words.extents[1], row_bytes, images * channels // lanes, machine)

        n, h, w, c = sch.get_loops(last.rv)
        part, block, row = sch.split(h, [None, taken, rows])
        tile, pixel = sch.split(w, [None, _pixels(width, columns, machine)])
        vector, lane = sch.split(c, [None, lanes])
        sch.reorder(n, part, vector, block, row, tile, pixel, lane)
        sch.annotate(tile, PARTITION, 1)
        task = sch.fuse(n, part, vector)
        if sums.steps >= PARALLEL_STEPS:
            sch.parallel(task)
        sch.compute_at(sums.rv, tile, preserve_unit_loops=True)
        sch.compute_at(words.rv, task, preserve_unit_loops=True)
        written_out(sch, list(sch.get_loops(sums.rv))[-len(sums.extents) :])
        written_out(sch, [pixel, lane])
        *_, word_row, word_column, channel = sch.get_loops(words.rv)
        sch.annotate(word_column, PARTITION, 1)
        if taken == height:
            sch.annotate(word_row, PARTITION, 1)
        sch.vectorize(channel)
        weights_at(sch, weights, task)
        return sch


def weights_at(sch: s_tir.Schedule, stages: list[SBlockRV], task: LoopRV) -> None:
    """Make the weights of a task's channels there, by stages that each read the one before: vectors, written out."""
    for stage in reversed(stages):
        sch.compute_at(stage, task, preserve_unit_loops=True)
        written_out(sch, list(sch.get_loops(stage))[-len(sch.get(stage).iter_vars) :])


def rows_of_task(height: int, word_rows: int, row_bytes: int, tasks: int, machine: Machine) -> int:
    """Blocks of rows to a task: as many as have their words in the cache and leave enough tasks; a divisor."""
    step = (word_rows - 1) // max(height - 1, 1)
    for taken in range(height, 1, -1):
        needed = word_rows - (height - taken) * step
        if height % taken == 0 and 4 * needed * row_bytes <= 3 * machine.l1_bytes:
            if tasks * (height // taken) >= TASKS * machine.cores:
                return taken
    return 1


def _pixels(width: int, columns: int, machine: Machine) -> int:
    """Pixels of a tile: a short row as a whole; else as few as possible beyond its end, then as many as possible."""
    if width <= machine.registers // 2 - 2:
        return width
    tiles = range(MIN_PIXELS, max(machine.registers // 4, MAX_PIXELS) + 1)
    return min((n for n in tiles if n % columns == 0), key=lambda pixels: (-width % pixels, -pixels))
