"""Schedule of packed kernels (kernels/conv2d.py, kernels/matmul.py) with whatever elementwise operators follow.

    Given:   pad; sums; unpack; bias add; residual add; activation
    Result:  parallel over (image, tile of channels, row):
               pad of the rows that are read
               for tile of pixels:
                 pixels x channels sums to zero            vectors, unrolled
                 for kh, kw, ic: sums += data * weight     vectors, unrolled
                 the rest, one vector after the other

The order of summation is the unscheduled kernel's. Functions that are built otherwise are left alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tvm_split.passes.kernels.conv2d import KERNEL, LANES, PAD, PIXELS, SUMS, UNPACK
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tiles import Tile

log = logging.getLogger("tvm_split.passes")

Block = Any  # what the schedule calls SBlockRV and LoopRV has no public type
Loop = Any

#: loops of a matrix product's sums: tile of columns, row, column, term
MATMUL_ITERS = 4
#: vectors shorter than this are not worth their instructions
MIN_LANES = 4
#: a task of this many tiles hides its own cost
MAX_RUN = 16
#: with this many tasks a core, what the last ones leave idle does not count
TASKS_A_CORE = 16


@dataclass(frozen=True)
class Blocks:
    """The function's blocks by role. `host` is the one that the sums are made for; `output` is it or follows it."""

    sums: Block
    pad: Block | None
    host: Block
    output: Block
    tile: Tile


class Packed(dlight.ScheduleRule):
    """The rule. It answers None for a function without a packed kernel or with blocks that it does not understand."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        if not isinstance(func, tirx.PrimFunc):
            return None
        try:
            return _scheduled(func, machine_of(target))
        except s_tir.ScheduleError as error:  # something around the kernel that no primitive can move
            log.info(
                "Packed: '%s' stays as it is: %s", func.attrs.get("global_symbol", "main"), str(error).strip()[-200:]
            )
            return None


def _scheduled(func: tirx.PrimFunc, machine: Machine) -> s_tir.Schedule | None:
    sch = inlined(func)
    if sch is None:
        return None
    blocks = _blocks(sch)
    task = _tiled(sch, blocks, machine.cores)
    if task is None:
        return None
    if blocks.pad is not None:
        _schedule_pad(sch, blocks.pad, task, machine.lanes(_dtype(sch, blocks.pad)))
    if sch.get(blocks.output) != sch.get(blocks.host):
        _schedule_copy(sch, blocks.output)
    return sch


def inlined(func: tirx.PrimFunc) -> s_tir.Schedule | None:
    """The function with all that follows the sums in one block, in two when it ends in another shape."""
    sch = s_tir.Schedule(func)
    root = sch.get_sblock("root")
    roles: dict[str, Block] = {}
    after = []
    for block in sch.get_child_blocks(root):
        role = str(sch.get(block).annotations.get(KERNEL, ""))
        if role in roles:
            return None
        if role:
            roles[role] = block
        if role in ("", UNPACK):
            after.append(block)
    if not {SUMS, UNPACK} <= set(roles) <= {SUMS, UNPACK, PAD} or len(sch.get_output_blocks(root)) != 1:
        return None
    extents = [_extents(sch, block) for block in after]
    if None in extents:
        return None
    # The blocks stand in the order of computation, so the last one with the result's shape can host the sums.
    space = _extents(sch, roles[UNPACK])
    host = max(i for i, other in enumerate(extents) if other == space)
    for i, block in enumerate(after[:-1]):
        if i != host:
            sch.compute_inline(block)
    if len(sch.get(roles[SUMS]).iter_vars) == MATMUL_ITERS:
        _merge_rows(sch, after[host])
        # Only in simple form do the indices tell compute_at which rows a tile needs.
        sch = s_tir.Schedule(tirx.transform.StmtSimplify()(sch.mod))
    return sch


def _merge_rows(sch: s_tir.Schedule, host: Block) -> None:
    """Of a matrix product: one dimension of rows."""
    *extents, _ = _extents(sch, host) or ()

    def merged(*index: tirx.Var) -> list[tirx.Expr]:
        row = index[0]
        for extent, i in zip(extents[1:], index[1:-1], strict=True):
            row = row * extent + i
        return [row, index[-1]]

    if len(extents) > 1:
        sch.transform_block_layout(host, tirx.IndexMap.from_func(merged, ndim=len(extents) + 1))


def _blocks(sch: s_tir.Schedule) -> Blocks:
    root = sch.get_sblock("root")
    roles = {str(sch.get(block).annotations.get(KERNEL, "")): block for block in sch.get_child_blocks(root)}
    sums = roles[SUMS]
    (host,), (output,) = sch.get_consumers(sums), sch.get_output_blocks(root)
    annotations = sch.get(sums).annotations
    channels = int(sch.get(sums).writes[0].source.shape[-1])
    return Blocks(sums, roles.get(PAD), host, output, Tile(int(annotations[PIXELS]), channels, int(annotations[LANES])))


def _extents(sch: s_tir.Schedule, block: Block) -> tuple[int, ...] | None:
    """Extents of an elementwise block; None of a reduction or of extents that are no numbers."""
    extents = []
    for var in sch.get(block).iter_vars:
        if var.iter_type != tirx.IterVar.DataPar or not isinstance(var.dom.extent, tirx.IntImm):
            return None
        extents.append(int(var.dom.extent))
    return tuple(extents)


def _tiled(sch: s_tir.Schedule, blocks: Blocks, cores: int) -> Loop | None:
    """Tile the host and make the sums in it; the parallel loop. None when the sums are not a tile there."""
    tile = blocks.tile
    reductions = sum(var.iter_type == tirx.IterVar.CommReduce for var in sch.get(blocks.sums).iter_vars)
    spatial = len(sch.get(blocks.sums).iter_vars) - reductions
    *outer, pixel, channel = sch.get_loops(blocks.host)
    pixel_tile, pixel = sch.split(pixel, [None, tile.pixels])
    channel_tile, channel = sch.split(channel, [None, tile.channels])
    sch.reorder(*outer[:1], channel_tile, *outer[1:], pixel_tile, pixel, channel)
    run, pixel_tile = _runs(sch, [*outer, channel_tile], pixel_tile, cores)
    task = sch.fuse(*outer[:1], channel_tile, *outer[1:], run)
    sch.parallel(task)
    sch.compute_at(blocks.sums, pixel_tile, preserve_unit_loops=True)
    inner = sch.get_loops(blocks.sums)[-(spatial + reductions) :]
    made = [_extent(sch, loop) for loop in inner[:spatial]]
    lanes = tile.lanes if made[-1] == tile.channels else 1  # of a single output channel, only that one is made
    if made[:-1] != [*[1] * (spatial - 2), tile.pixels] or made[-1] not in (tile.channels, 1):
        return None
    sch.reorder(*inner[spatial:], *inner[:spatial])
    _as_vectors(sch, inner[spatial - 2], inner[spatial - 1], lanes)
    *_, pixels, channels = sch.get_loops(sch.decompose_reduction(blocks.sums, inner[spatial]))
    _as_vectors(sch, pixels, channels, lanes)
    _write_back(sch, blocks, channel)
    return task


def _runs(sch: s_tir.Schedule, others: list[Loop], pixel_tile: Loop, cores: int) -> list[Loop]:
    """Tiles of pixels that one core takes one after the other: a task costs, but too few of them share out badly."""
    tiles, outer = int(sch.get(pixel_tile).extent), prod(int(sch.get(loop).extent) for loop in others)
    runs = [n for n in range(1, min(tiles, MAX_RUN) + 1) if tiles % n == 0]
    fair = [n for n in runs if tiles // n * outer >= TASKS_A_CORE * cores or tiles // n * outer % cores == 0]
    return list(sch.split(pixel_tile, [None, max(fair, default=1)]))


def _as_vectors(sch: s_tir.Schedule, pixels: Loop, channels: Loop, lanes: int) -> None:
    vectors, lane = sch.split(channels, [None, lanes])
    sch.vectorize(lane)
    sch.unroll(vectors)
    sch.unroll(pixels)


def _write_back(sch: s_tir.Schedule, blocks: Blocks, channel: Loop) -> None:
    """Vectors as long as divide the channels, so that none of them crosses the end; else LLVM does what it can."""
    lanes = _dividing(blocks.tile.lanes, int(sch.get(blocks.host).iter_vars[-1].dom.extent))
    if lanes >= MIN_LANES:
        vectors, inner = sch.split(channel, [None, lanes])
        sch.vectorize(inner)
        sch.unroll(vectors)


def _schedule_pad(sch: s_tir.Schedule, pad: Block, task: Loop, max_lanes: int) -> None:
    """Rows of whole vectors are padded by whoever reads them, which is less work than fetching them from memory.

    Others, a network's first layer, are padded in a pass of their own: zeros, then the data.
    """
    channels = int(sch.get(pad).iter_vars[-1].dom.extent)
    lanes = _dividing(max_lanes, channels)
    if lanes >= MIN_LANES:
        sch.compute_at(pad, task, preserve_unit_loops=True)
        sch.vectorize(sch.split(sch.get_loops(pad)[-1], [None, lanes])[1])
        return
    zero = sch.decompose_padding(pad, sch.get_loops(pad)[0])
    for block in (zero, pad):
        *rows, width, channel = sch.get_loops(block)
        sch.parallel(sch.fuse(*rows))
        fused = sch.fuse(width, channel)
        lanes = _dividing(max_lanes, int(sch.get(fused).extent))
        sch.vectorize(sch.split(fused, [None, lanes])[1])


def _schedule_copy(sch: s_tir.Schedule, block: Block) -> None:
    """What only moves data behind the kernel: LLVM makes the vectors."""
    loops = sch.get_loops(block)
    sch.parallel(sch.fuse(*loops[:-1]) if len(loops) > 1 else loops[0])


def _extent(sch: s_tir.Schedule, loop: Loop) -> int | None:
    """The loop's extent; None when it is no number."""
    extent = sch.get(loop).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else None


def _dividing(lanes: int, extent: int) -> int:
    """The longest power of two up to `lanes` that divides the extent."""
    while extent % lanes:
        lanes //= 2
    return lanes


def _dtype(sch: s_tir.Schedule, block: Block) -> str:
    return str(sch.get(block).writes[0].source.dtype)
