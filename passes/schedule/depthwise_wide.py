"""Depthwise convolutions of values that are widened once (kernels/depthwise_wide.py).

    Given:   wide[h, w, c] of 16 bits, padded;  sums[h, w, c] over kh, kw of wide * weight;  what follows
    Result:  parallel over (image, rows, vector of channels):
               wide, in the first cache
               for h: for tile of pixels: two vectors of sums for each in registers; for kh: kw written out; the rest

Conditions of padding are on what is widened alone: LoopPartition takes the columns' off the loop, and the rows' where a
task has all rows. Whole numbers: there is no order of summation to keep.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.kernels.depthwise_wide import WIDE, WIDE_SUMS
from tvm_split.passes.kernels.stored import DECODE
from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    PARTITION,
    dividing_lanes,
    inline_spatial,
    kernel_of,
    opened,
)
from tvm_split.passes.schedule.depthwise import UNROLL, written_out
from tvm_split.passes.schedule.depthwise_int8 import rows_of_task, weights_at
from tvm_split.passes.schedule.machine import Machine, machine_of

WIDE_BYTES = 2
#: registers of one turn beside sums and data: weights, and what is on its way
SCRATCH = 4
#: pixels of a tile, at the most
MAX_PIXELS = 8
#: columns of a row that is widened by straight code
SHORT = 16


class DepthwiseWide(ScheduleRule):
    """Functions of widened data, their sums, and at most one spatial block after them."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch, machine = s_tir.Schedule(func), machine_of(target)
        if WIDE_SUMS not in [kernel_of(sch, rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]:
            return None
        sch = opened(func)
        blocks = inline_spatial(sch, kept=(WIDE, DECODE))
        if blocks is None:
            return None
        weights = [block.rv for block in blocks if kernel_of(sch, block.rv) == DECODE]
        blocks = [block for block in blocks if block.rv not in weights]
        if len(blocks) not in (2, 3):
            return None
        wide, sums, *after = blocks
        if kernel_of(sch, wide.rv) != WIDE or kernel_of(sch, sums.rv) != WIDE_SUMS:
            return None
        if after and (not after[0].is_spatial or after[0].extents != sums.extents[:4]):
            return None
        images, height, width, channels, _, across = sums.extents
        lanes = dividing_lanes(machine, "int16", channels)
        if lanes < 4:
            return None
        row_bytes = wide.extents[2] * lanes * WIDE_BYTES
        taken = rows_of_task(height, wide.extents[1], row_bytes, images * channels // lanes, machine)
        step = (wide.extents[2] - across) // max(width - 1, 1)
        pixels = _pixels(width, across, step, lanes // machine.lanes("int32") or 1, machine)

        last = after[0].rv if after else sch.cache_write(sums.rv, 0, "global")
        n, h, w, c = sch.get_loops(last)
        part, row = sch.split(h, [None, taken])
        tile, pixel = sch.split(w, [None, pixels])
        vector, lane = sch.split(c, [None, lanes])
        sch.reorder(n, part, vector, row, tile, pixel, lane)
        sch.annotate(tile, PARTITION, 1)
        task = sch.fuse(n, part, vector)
        if sums.steps >= PARALLEL_STEPS:
            sch.parallel(task)
        sch.compute_at(sums.rv, tile, preserve_unit_loops=True)
        sch.compute_at(wide.rv, task, preserve_unit_loops=True)
        inside = list(sch.get_loops(sums.rv))[-len(sums.kinds) :]
        made, terms = inside[:4], inside[4:]
        sch.reorder(*terms, *made)
        if pixels * across <= UNROLL:
            sch.unroll(terms[1])
        written_out(sch, made)
        written_out(sch, list(sch.get_loops(sch.decompose_reduction(sums.rv, terms[0])))[-4:])
        written_out(sch, [pixel, lane])
        *_, wide_row, wide_column, channel = sch.get_loops(wide.rv)
        run, column = sch.split(wide_column, [None, _run(wide.extents[2])])
        sch.annotate(run, PARTITION, 1)
        sch.unroll(column)
        if taken == height:
            sch.annotate(wide_row, PARTITION, 1)
        sch.vectorize(channel)
        weights_at(sch, weights, task)
        return sch


def _run(columns: int) -> int:
    """Columns that are widened in one turn: all of a short row, else as few as possible beyond its end."""
    return columns if columns <= SHORT else min(range(4, 9), key=lambda run: (-columns % run, -run))


def _pixels(width: int, across: int, step: int, vectors: int, machine: Machine) -> int:
    """Pixels of a tile: as few as possible beyond the end of the row, then as many as possible.

    A pixel takes `vectors` of sums, and one for each value that it does not share with its neighbour.
    """
    free = machine.registers - SCRATCH - max(across - step, 0)
    most = max(1, min(free // (vectors + min(step, across)), MAX_PIXELS))
    if width <= most:
        return width
    return min(range((most + 1) // 2, most + 1), key=lambda pixels: (-width % pixels, -pixels))
