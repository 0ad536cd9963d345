"""Permutations of axes, tile by tile, so that lines of the cache are used whole on both sides.

Given:   for a, b: out[a, b] = x[b, a]
Result:  for a0 in parallel: for b0: for a1 in 16: out[16 a0 + a1, 16 b0 : 16 b0 + 16] = x[16 b0 : ..., 16 a0 + a1]
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule.blocks import PARALLEL_STEPS, Block, blocks_of, dividing_lanes, is_copy
from tvm_split.passes.schedule.machine import machine_of

LINE_BYTES = 64
MIN_LANES = 8


class Transpose(ScheduleRule):
    """Functions of one block that copies, where what is contiguous in the input is not in the output.

    Rows that are no whole number of vectors are left as they are: LLVM's scalar loop is faster than a tile's end.
    """

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        blocks = blocks_of(sch)
        if blocks is None or len(blocks) != 1 or not is_copy(sch, blocks[0].rv):
            return None
        (block,) = blocks
        axes = _axes(block)
        line = LINE_BYTES * 8 // tvm.DataType(block.dtype).bits
        if axes is None or block.steps < PARALLEL_STEPS or block.extents[axes[0]] < MIN_LANES:
            return None
        machine = machine_of(target)
        lanes = dividing_lanes(machine, block.dtype, block.extents[axes[1]])
        if lanes < min(MIN_LANES, machine.lanes(block.dtype)):
            return None
        loops = list(sch.get_loops(block.rv))
        others = [loop for i, loop in enumerate(loops) if i not in axes]
        read_tiles, read = sch.split(loops[axes[0]], [None, min(line, block.extents[axes[0]])])
        written_tiles, written = sch.split(loops[axes[1]], [None, lanes])
        sch.reorder(*others, read_tiles, written_tiles, read, written)
        sch.vectorize(written)
        if block.steps >= PARALLEL_STEPS:
            sch.parallel(sch.fuse(*others, read_tiles))
        return sch


def _axes(block: Block) -> tuple[int, int] | None:
    """Numbers of the iterators that are contiguous in what is read and in what is written, where those are two."""
    if None in block.strides or len(block.strides) != 2 or not block.is_spatial:
        return None
    found = []
    for walk in block.strides:
        ones = [i for i, (step, extent) in enumerate(zip(walk or (), block.extents, strict=True)) if step == 1 < extent]
        found.append(ones)
    if len(found[0]) != 1 or len(found[1]) != 1 or found[0] == found[1]:
        return None
    return found[0][0], found[1][0]
