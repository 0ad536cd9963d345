"""Schedule of Winograd convolutions (kernels/conv2d_winograd.py) with whatever elementwise operators follow.

    Given:   lines; patches; sums; folded; unpack; bias add; residual add; activation
    Result:  parallel over tasks, (some tiles of channels, image, band), see bands.py:
               for row of blocks, some channels: lines; patches          vectors, a patch written out
               for element of a patch, tile of channels, tile of pixels:
                 pixels x channels sums to zero                          vectors, unrolled
                 for ic: sums += patches * weight                        vectors, unrolled
               for tile of channels, row of blocks, block, vector:
                 folded; the rest, 2 x 2 of the result                   written out

The order of summation is the unscheduled kernel's. Functions that are built otherwise are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.kernels.conv2d import LANES, PIXELS
from tvm_split.passes.kernels.conv2d_winograd import BLOCK, FOLDED, LINES, PATCH, PATCHES, ROWS, SUMS, UNPACK
from tvm_split.passes.schedule.bands import Blocks, group_of
from tvm_split.passes.schedule.hosts import Block, Loop, as_vectors, copy_out, extents_are, hosted
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tiles import MIN_LANES, Tile

#: of the first cache, what the lines of one row of blocks may take, so that patches find them there
LINES_FIT = 0.5


class Winograd(ScheduleRule):
    """Functions of the blocks above; None for any other."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        roles = hosted(sch, SUMS, UNPACK, (LINES, PATCHES, FOLDED))
        if roles is None:
            return None
        machine = machine_of(target)
        annotations = sch.get(roles[SUMS]).annotations
        tile_pixels, lanes, rows = (int(annotations[key]) for key in (PIXELS, LANES, ROWS))
        inner = int(sch.get(roles[PATCHES]).writes[0].source.shape[-1])
        images, height, width, channels = (int(var.dom.extent) for var in sch.get(roles["host"]).iter_vars)
        tile = Tile(tile_pixels, int(sch.get(roles[SUMS]).writes[0].source.shape[-1]), lanes)
        blocks = Blocks(images, -(-height // BLOCK), -(-width // BLOCK), inner, channels)
        if min(gcd(lanes, inner), gcd(lanes, channels)) < MIN_LANES:
            return None
        task = _result(sch, roles, tile, rows, group_of(machine, blocks, tile, rows))
        if not _sums(sch, roles[SUMS], task, tile):
            return None
        _patches(sch, roles, task, blocks.columns, machine)
        copy_out(sch, roles)
        return sch


def _result(sch: s_tir.Schedule, roles: Mapping[str, Block], tile: Tile, rows: int, group: int) -> Loop:
    """Tile the host by tasks, blocks and vectors, each with the folded sums that it reads. The loop over tasks."""
    host, folded = roles["host"], roles[FOLDED]
    image, h, w, channel = sch.get_loops(host)
    lanes = gcd(tile.lanes, int(sch.get(host).iter_vars[-1].dom.extent))
    band, row, i = sch.split(h, [None, rows, BLOCK])
    column, j = sch.split(w, [None, BLOCK])
    groups, tiles, vector, lane = sch.split(channel, [None, group, tile.channels // lanes, lanes])
    sch.reorder(groups, image, band, tiles, row, column, vector, i, j, lane)
    task = sch.fuse(groups, image, band)
    sch.parallel(task)
    sch.compute_at(folded, vector, preserve_unit_loops=True)
    *_, fold, element, _, folded_lane = sch.get_loops(folded)
    for loop in (vector, i, j, fold, element):
        sch.unroll(loop)
    for loop in (lane, folded_lane):
        sch.vectorize(loop)
    return task


def _sums(sch: s_tir.Schedule, sums: Block, task: Loop, tile: Tile) -> bool:
    """Sums of the task, a register tile after the other. False when they are no tiles there."""
    written = sch.cache_write(sums, 0, "global")
    sch.compute_at(written, task, preserve_unit_loops=True)
    tiles, i, j, positions, channel = sch.get_loops(written)[-5:]
    sch.reorder(i, j, tiles)
    run, pixel = sch.split(positions, [None, tile.pixels])
    as_vectors(sch, (pixel,), channel, tile.lanes)
    sch.compute_at(sums, run, preserve_unit_loops=True)
    *kept, term = sch.get_loops(sums)[-8:]
    if not extents_are(sch, kept, [1, 1, 1, 1, 1, tile.pixels, tile.channels]):
        return False
    sch.reorder(term, *kept)
    as_vectors(sch, (kept[-2],), kept[-1], tile.lanes)
    *_, zero_pixel, zero_channel = sch.get_loops(sch.decompose_reduction(sums, term))
    as_vectors(sch, (zero_pixel,), zero_channel, tile.lanes)
    return True


def _patches(sch: s_tir.Schedule, roles: Mapping[str, Block], task: Loop, columns: int, machine: Machine) -> None:
    """Patches of the task, row by row of blocks and some channels at a time, from lines in the first cache."""
    patches, lines = roles[PATCHES], roles[LINES]
    inner = int(sch.get(patches).writes[0].source.shape[-1])
    lanes = gcd(machine.lanes("float32"), inner)
    line_bytes = PATCH * BLOCK * (columns + 1) * lanes * machine.vector_bytes // machine.lanes("float32")
    fitting = max(int(machine.l1_bytes * LINES_FIT / line_bytes), 1)
    vectors = gcd(1 << fitting.bit_length() - 1, inner // lanes)
    sch.compute_at(patches, task, preserve_unit_loops=True)
    i, j, positions, channel = sch.get_loops(patches)[-4:]
    row, column = sch.split(positions, [None, columns])
    some, vector, lane = sch.split(channel, [None, vectors, lanes])
    sch.reorder(row, some, column, vector, i, j, lane)
    sch.compute_at(lines, some, preserve_unit_loops=True)
    *_, line, line_column, line_channel = sch.get_loops(lines)
    line_vector, line_lane = sch.split(line_channel, [None, lanes])
    sch.reorder(line_column, line_vector, line, line_lane)
    for loop in (i, j, line):
        sch.unroll(loop)
    for loop in (lane, line_lane):
        sch.vectorize(loop)
