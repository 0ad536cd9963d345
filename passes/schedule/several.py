"""Functions of several reductions that share no rows: instance norm, variance, softmax over channels that stand first.

    Given:   for c: for h, w: sum[c] += x[c, h, w];   for c, h, w: d[c, h, w] = (x[c, h, w] - sum[c] / 49)^2;   ...
    Result:  each block by itself: reductions as schedule/reduction.py does one, the others as schedule/elementwise.py

A block that those do not know stays as it is; None where there is nothing to gain, because all stay.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule.blocks import Block, block_of, inline_spatial
from tvm_split.passes.schedule.elementwise import schedule_spatial
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.reduction import reduce


class Several(ScheduleRule):
    """Functions of two blocks or more, one of them a reduction at least, all of them plain."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        blocks = inline_spatial(sch)
        if blocks is None or len(blocks) < 2 or all(block.is_spatial for block in blocks):
            return None
        machine, gained = machine_of(target), False
        for block in blocks:
            if not block.is_spatial:
                gained |= _alone(sch, block, machine)
        for block in blocks:
            if block.is_spatial:
                schedule_spatial(sch, block)
        return sch if gained else None


def _alone(sch: s_tir.Schedule, block: Block, machine: Machine) -> bool:
    """Schedule a reduction with a copy of its result for what reads it, which `reduce` takes for what follows."""
    if len(sch.get(block.rv).writes) != 1:
        return False
    sch.cache_write(block.rv, 0, "global")
    made = block_of(sch, block.rv)
    return made is not None and reduce(sch, [], made, machine)
