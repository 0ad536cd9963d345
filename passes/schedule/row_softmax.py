"""Schedule of softmax by rows (kernels/row_softmax.py).

    Given:   most; powers; total; product
    Result:  parallel over some rows: the four of them, one after the other, in vectors, on rows that stay in the cache

The order of summation is the unscheduled kernel's.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvm_split.passes.kernels.row_softmax import FILLED, LANES, LANEWISE, ROW, VECTORS
from tvm_split.passes.schedule.blocks import PARALLEL_STEPS, PARTITION, extent_of, kernel_of
from tvm_split.passes.schedule.hosts import merge_rows
from tvm_split.passes.schedule.machine import machine_of

#: elements that one task keeps of each stage: they stay in the first cache, and memory is asked for once for all
CACHED = 1024


class RowSoftmax(ScheduleRule):
    """Functions all of whose blocks are of that kernel."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        roles = [kernel_of(sch, block) for block in _blocks(sch)]
        if LANEWISE not in roles or set(roles) - {LANEWISE, VECTORS, FILLED, ROW}:
            return None
        sch = merge_rows(sch, _blocks(sch)[-1])
        *blocks, last = _blocks(sch)
        row, column = sch.get_loops(last)
        rows, columns = extent_of(sch, row), extent_of(sch, column)
        is_whole = columns % LANES == 0
        together = max(n for n in range(1, max(1, CACHED // columns) + 1) if rows % n == 0)
        row, _ = sch.split(row, [None, together])
        if rows * columns >= PARALLEL_STEPS and rows > together:
            sch.parallel(row)
        lanes = min(LANES, machine_of(target).lanes("float32"))
        for block, role in reversed(list(zip(blocks, roles, strict=False))):
            if role == FILLED and is_whole:
                sch.compute_inline(block)
                continue
            sch.compute_at(block, row, preserve_unit_loops=True)
            if role == LANEWISE:
                *_, lane, term = sch.get_loops(block)
                sch.reorder(term, lane)
                _as_vectors(sch, lane, lanes)
                sch.decompose_reduction(block, term)
            elif role == VECTORS:
                _as_vectors(sch, sch.get_loops(block)[-1], lanes)
            elif role == FILLED:  # so that only its end has conditions
                sch.annotate(sch.get_loops(block)[-1], PARTITION, 1)
        return sch


def _blocks(sch: s_tir.Schedule) -> list[SBlockRV]:
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def _as_vectors(sch: s_tir.Schedule, loop: LoopRV, lanes: int) -> None:
    sch.vectorize(sch.split(loop, [None, lanes])[1])
