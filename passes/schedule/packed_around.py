"""Schedules of what stands around the sums of packed kernels: the data's padding before, a change of shape behind."""

from __future__ import annotations

import contextlib
from typing import Any

from tvm import s_tir

from tvm_split.passes.kernels.conv2d_dot import RAGGED
from tvm_split.passes.schedule.machine import Machine

Block = Any  # what the schedule calls SBlockRV and LoopRV has no public type
Loop = Any

#: vectors shorter than this are not worth their instructions
MIN_LANES = 4


def schedule_pad(sch: s_tir.Schedule, pad: Block, task: Loop, machine: Machine) -> None:
    """Rows of whole vectors are padded by whoever reads them, which is less work than fetching them from memory.

    Others, a network's first layer, are padded in a pass of their own: the border's value, then the data.
    """
    max_lanes = machine.lanes(str(sch.get(pad).writes[0].source.dtype))
    ragged = RAGGED in sch.get(pad).annotations
    lanes = dividing(max_lanes, int(sch.get(pad).iter_vars[-1].dom.extent))
    if lanes >= MIN_LANES and not ragged:
        sch.compute_at(pad, task, preserve_unit_loops=True)
        sch.vectorize(sch.split(sch.get_loops(pad)[-1], [None, lanes])[1])
        return
    blocks = [pad]
    with contextlib.suppress(s_tir.ScheduleError):  # what is no box of data in a border stays one block
        blocks.append(sch.decompose_padding(pad, sch.get_loops(pad)[0]))
    for block in blocks:
        loops = sch.get_loops(block)
        rows = max(len(loops) - (1 if ragged else 2), 1)
        sch.parallel(sch.fuse(*loops[:rows]))
        inner = sch.fuse(*loops[rows:])
        if len(blocks) > 1:  # else conditions differ within a vector
            sch.vectorize(sch.split(inner, [None, dividing(max_lanes, int(sch.get(inner).extent))])[1])


def schedule_copy(sch: s_tir.Schedule, block: Block) -> None:
    """What only moves data behind the kernel: LLVM makes the vectors."""
    loops = sch.get_loops(block)
    sch.parallel(sch.fuse(*loops[:-1]) if len(loops) > 1 else loops[0])


def dividing(lanes: int, extent: int) -> int:
    """The longest power of two up to `lanes` that divides the extent."""
    while extent % lanes:
        lanes //= 2
    return lanes
