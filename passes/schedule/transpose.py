"""Permutations of axes, tile by tile, so that lines of the cache are used whole on both sides.

    Given:   for a, b: out[a, b] = x[b, a]
    Result:  for a0, b0 in parallel: for a1, b1 in 16 x 16: out[16 a0 + a1, 16 b0 + b1] = x[16 b0 + b1, 16 a0 + a1]
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx

from tvm_split.passes.schedule.blocks import PARALLEL_STEPS, Block, ScheduleRule, blocks_of, is_copy

LINE_BYTES = 64


class Transpose(ScheduleRule):
    """Functions of one block that copies, where what is contiguous in the input is not in the output."""

    def apply(self, func: tirx.PrimFunc, _target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        blocks = blocks_of(sch)
        if blocks is None or len(blocks) != 1 or not is_copy(sch, blocks[0].rv):
            return None
        axes = _axes(blocks[0])
        if axes is None:
            return None
        (block,) = blocks
        loops = list(sch.get_loops(block.rv))
        read, written = loops[axes[0]], loops[axes[1]]
        tile = LINE_BYTES * 8 // tvm.DataType(block.dtype).bits
        others = [loop for i, loop in enumerate(loops) if i not in axes]
        read_o, read_i = sch.split(read, [None, tile])
        written_o, written_i = sch.split(written, [None, tile])
        sch.reorder(*others, read_o, written_o, read_i, written_i)
        if block.steps >= PARALLEL_STEPS:
            sch.parallel(sch.fuse(*others, read_o))
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
