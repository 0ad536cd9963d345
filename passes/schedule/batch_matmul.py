"""Schedule of products of two activations (kernels/batch_matmul.py) with whatever elementwise operators follow.

    Given:   pack; sums; unpack; scale; activation
    Result:  parallel over (batch, tile of columns, run of tiles of rows):
               the tile of columns is packed
               for tile of rows:
                 rows x columns sums to zero             vectors, unrolled
                 for k: sums += a * packed b             vectors, unrolled
                 the rest, one vector after the other

Rows beyond the end are conditions, which LoopPartition takes out of all tiles but the last one. The order of summation
is the unscheduled kernel's.
"""

from __future__ import annotations

from math import prod

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.kernels.batch_matmul import PACK, SUMS, UNPACK
from tvm_split.passes.kernels.conv2d import LANES, PIXELS
from tvm_split.passes.schedule.blocks import PARALLEL_STEPS, PARTITION, extent_of
from tvm_split.passes.schedule.hosts import (
    Block,
    as_vectors,
    channels_made,
    copy_out,
    hosted,
    whole_tiles,
    write_back,
)
from tvm_split.passes.schedule.machine import machine_of
from tvm_split.passes.schedule.tasks import run_of

#: rows that one task takes at least: it packs columns for them, which costs about as much as two rows
ROWS = 32
#: with this many tasks a core, what the last ones leave idle does not count
TASKS_A_CORE = 8


class BatchMatmul(ScheduleRule):
    """Functions of the blocks above; None for any other."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        roles = hosted(sch, SUMS, UNPACK, (PACK,))
        if roles is None:
            return None
        sums, host = roles[SUMS], roles["host"]
        annotations = sch.get(sums).annotations
        rows, lanes = int(annotations[PIXELS]), int(annotations[LANES])
        channels = int(sch.get(sums).writes[0].source.shape[-1])

        *batch, row, column = sch.get_loops(host)
        columns = extent_of(sch, column)
        tiles, row = sch.split(row, [None, rows])
        column_tile, column = sch.split(column, [None, channels])
        outer = prod(extent_of(sch, loop) for loop in (*batch, column_tile))
        cores, least = machine_of(target).cores, -(-ROWS // rows)
        taken = run_of(extent_of(sch, tiles), outer, cores, enough=TASKS_A_CORE, least=least)
        run, tile = sch.split(tiles, [None, taken])
        sch.reorder(*batch, column_tile, run, tile, row, column)
        sch.annotate(tile, PARTITION, 1)
        task = sch.fuse(*batch, column_tile, run)
        if _steps(sch, sums) >= PARALLEL_STEPS:
            sch.parallel(task)
        sch.compute_at(sums, tile, preserve_unit_loops=True)
        *kept, _ = inner = list(sch.get_loops(sums))[-(len(batch) + 4) :]
        made = channels_made(sch, kept, rows, channels)
        if made is None:
            return None
        lanes = lanes if made == channels else 1  # of a single column, only that one is made
        sch.reorder(inner[-1], *kept)
        as_vectors(sch, (kept[-2],), kept[-1], lanes)
        *_, zero_rows, zero_columns = sch.get_loops(sch.decompose_reduction(sums, inner[-1]))
        as_vectors(sch, (zero_rows,), zero_columns, lanes)
        end = sch.get(column).loop_var
        if columns % channels == 0:
            write_back(sch, column, columns, lanes)
        sch.compute_at(roles[PACK], task, preserve_unit_loops=True)
        copy_out(sch, roles)
        if columns % channels == 0:
            return sch
        return s_tir.Schedule(whole_tiles(sch.mod["main"], end, channels, lanes))


def _steps(sch: s_tir.Schedule, block: Block) -> int:
    return prod(int(each.dom.extent) for each in sch.get(block).iter_vars)
