"""Schedule of the padding that packed kernels read."""

from __future__ import annotations

import contextlib

from tvm import s_tir

from tvm_split.passes.kernels.conv2d_dot import RAGGED
from tvm_split.passes.schedule.blocks import dividing_lanes, extent_of
from tvm_split.passes.schedule.hosts import Block, Loop, pad_by_reader
from tvm_split.passes.schedule.machine import Machine


def packed_pad(sch: s_tir.Schedule, pad: Block, task: Loop, machine: Machine) -> None:
    """Rows of whole vectors are padded by whoever reads them, which is less work than fetching them from memory.

    Others, a network's first layer, are padded in a pass of their own: the border's value, then the data.
    """
    ragged = RAGGED in sch.get(pad).annotations
    if not ragged and pad_by_reader(sch, pad, task, machine):
        return
    dtype = str(sch.get(pad).writes[0].source.dtype)
    blocks = [pad]
    with contextlib.suppress(s_tir.ScheduleError):  # what is no box of data in a border stays one block
        blocks.append(sch.decompose_padding(pad, sch.get_loops(pad)[0]))
    for block in blocks:
        loops = sch.get_loops(block)
        rows = max(len(loops) - (1 if ragged else 2), 1)
        sch.parallel(sch.fuse(*loops[:rows]))
        inner = sch.fuse(*loops[rows:])
        if len(blocks) > 1:  # else conditions differ within a vector
            sch.vectorize(sch.split(inner, [None, dividing_lanes(machine, dtype, extent_of(sch, inner))])[1])
