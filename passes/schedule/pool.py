"""Pooling: the largest or the mean of windows that slide over the data.

    Given:   pad; for n, h, w, c: (max over kh, kw of pad[n, 2 h + kh, 2 w + kw, c])
    Result:  channels last: as a depthwise convolution (schedule/depthwise.py);
             channels first: for n, c, h in parallel: for w: the window written out, of which LLVM makes vectors

The order of summation is the unscheduled kernel's. Pooling of all pixels is schedule/reduction.py's.
"""

from __future__ import annotations

import math

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule.blocks import PARALLEL_STEPS, Block, block_of, inline_spatial, opened
from tvm_split.passes.schedule.depthwise import slide
from tvm_split.passes.schedule.elementwise import schedule_spatial
from tvm_split.passes.schedule.machine import machine_of

#: elements of a window that are written out
MAX_WINDOW = 256


class Pool(ScheduleRule):
    """Functions of [padding,] one reduction of one tensor in windows [, and what follows]."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = opened(func)
        blocks = inline_spatial(sch)
        found = next((block for block in blocks or [] if not block.is_spatial), None)
        if blocks is None or found is None or not _is_window(found):
            return None
        if not all(block.is_spatial for block in blocks if block is not found):
            return None
        if slide(sch, blocks, machine_of(target)):
            return sch
        sch = s_tir.Schedule(func)
        return sch if _rows(sch, inline_spatial(sch) or []) else None


def _is_window(block: Block) -> bool:
    """Whether one tensor is reduced over windows that slide: a kept axis steps over what a reduced one steps over."""
    if len(block.reads()) != 1 or None in block.reads()[0]:
        return False
    walk = [step or 0 for step in block.reads()[0]]  # none is None
    steps = [(step, kind, e) for step, kind, e in zip(walk, block.kinds, block.extents, strict=True) if e > 1]
    kept = [step for step, kind, _ in steps if kind == "S"]
    over = [(step, e) for step, kind, e in steps if kind == "R"]
    if math.prod(extent for _, extent in over) > MAX_WINDOW:
        return False
    return bool(over) and all(
        any(step and step % place == 0 and step <= place * extent for step in kept) for place, extent in over
    )


def _rows(sch: s_tir.Schedule, blocks: list[Block]) -> bool:
    """[pad,] window [, after]: parallel over all but the last axis, each result made where it is needed."""
    index = next(i for i, block in enumerate(blocks) if not block.is_spatial)
    window, after = blocks[index], blocks[index + 1 :]
    if len(after) > 1 or (after and after[0].elements != window.elements):
        return False
    for block in blocks[:index]:
        schedule_spatial(sch, block)
    last = after[0].rv if after else sch.cache_write(window.rv, 0, "global")
    if block_of(sch, last) is None:
        return False
    *outer, inner = sch.get_loops(last)
    if outer and window.steps >= PARALLEL_STEPS:
        sch.parallel(sch.fuse(*outer))
    sch.compute_at(window.rv, inner, preserve_unit_loops=True)
    for loop in list(sch.get_loops(window.rv))[-len(window.kinds) :]:
        sch.unroll(loop)
    return True
