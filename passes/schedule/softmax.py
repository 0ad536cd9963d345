"""Rows on which several reductions work: softmax over any axis, normalisation of layers.

    Given:   for i, k: most[i] = max(x[i, k]);  for i, k: e[i, k] = exp(x[i, k] - most[i]);  sum over k;  quotient
    Result:  for i in parallel: the four of them, one after the other, on a row that stays in the cache

Where the axis is the last one, sums are made in partial sums (schedule/reduction.py says what that is worth);
else vectors run across rows and the order of summation is the unscheduled one.
"""

from __future__ import annotations

import math

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    Block,
    inline_spatial,
)
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.reduction import partial_sums, place_partial


class Softmax(ScheduleRule):
    """Functions of blocks with the same kept axes, two or more of them reductions, the last one spatial."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        blocks = inline_spatial(sch)
        if blocks is None or sum(not block.is_spatial for block in blocks) < 2:
            return None
        rows = _rows(blocks)
        if rows is None or not blocks[-1].is_spatial or len(sch.get_output_blocks(sch.get_sblock("root"))) != 1:
            return None
        _schedule(sch, blocks, rows, machine_of(target))
        return sch


def _rows(blocks: list[Block]) -> int | None:
    """How many of the first axes all blocks keep, when what each reduction reduces is the rest of the last block."""
    last = blocks[-1]
    reductions = [block for block in blocks if not block.is_spatial]
    rows = {block.kinds.index("R") for block in reductions}
    if len(rows) != 1:
        return None
    (count,) = rows
    for block in reductions:
        kept = [e for kind, e in zip(block.kinds, block.extents, strict=True) if kind == "S"]
        if "S" in block.kinds[count:] and math.prod(kept[count:]) != 1:
            return None
    if count == 0 or any(block.extents[:count] != last.extents[:count] for block in blocks):
        return None
    return count


def _schedule(sch: s_tir.Schedule, blocks: list[Block], rows: int, machine: Machine) -> None:
    loops = sch.get_loops(blocks[-1].rv)
    row = sch.fuse(*loops[:rows]) if rows > 1 else loops[0]
    if sum(block.steps for block in blocks) >= PARALLEL_STEPS and math.prod(blocks[-1].extents[:rows]) > 1:
        sch.parallel(row)
    partial = {}
    for block in blocks:
        made = None if block.is_spatial else partial_sums(sch, block)
        if made is not None:
            partial[block.name] = made
    for block in reversed(blocks[:-1]):
        sch.compute_at(block.rv, row, preserve_unit_loops=True)
        if block.name in partial:
            place_partial(sch, partial[block.name], row, machine)
