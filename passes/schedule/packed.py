"""Schedule of packed kernels (kernels/conv2d.py, kernels/matmul.py) with whatever elementwise operators follow.

    Given:   pad; sums; unpack; bias add; residual add; activation
    Result:  parallel over tasks, (image, some tiles of channels, row, some tiles of pixels), see tasks.py:
               pad of what is read
               for tile of channels, tile of pixels:
                 pixels x channels sums to zero            vectors, unrolled
                 for kh, kw, ic: sums += data * weight     vectors or dot product instructions, unrolled
                 the rest, one vector after the other

The order of summation is the unscheduled kernel's. Functions that are built otherwise are left alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import prod

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tvm_split.passes.kernels.conv2d import LANES, PIXELS, SUMS, UNPACK
from tvm_split.passes.kernels.conv2d_dot import DOT
from tvm_split.passes.kernels.window import KERNEL, PAD
from tvm_split.passes.schedule.dot import Dot
from tvm_split.passes.schedule.dot_kinds import DOTS
from tvm_split.passes.schedule.hosts import whole_tiles
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.packed_around import MIN_LANES, Block, Loop, dividing, schedule_copy, schedule_pad
from tvm_split.passes.schedule.tasks import task_of
from tvm_split.passes.schedule.tiles import Tile
from tvm_split.passes.schedule.work import merge_rows, work_of

log = logging.getLogger("tvm_split.passes")

#: LLVM would write out fewer input channels, in registers that the sums need: they go into the loop over columns
FEW_CHANNELS = 8
#: dimensions of a matrix product's sums: tile of columns, row, column; of a convolution over merged rows, and images
MATMUL_DIMS, MERGED_DIMS = 3, 4


@dataclass(frozen=True)
class Blocks:
    """The function's blocks by role. `host` is the one that the sums are made for; `output` is it or follows it."""

    sums: Block
    pad: Block | None
    host: Block
    output: Block
    tile: Tile
    positions: int  # whole tiles of pixels may go beyond what the host needs
    dot: Dot | None


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
    _gather_calls(sch, blocks)
    loops = _tiled(sch, blocks, machine)
    if loops is None:
        return None
    task, lane, channel = loops
    if blocks.pad is not None:
        schedule_pad(sch, blocks.pad, task, machine)
    if sch.get(blocks.output) != sch.get(blocks.host):
        schedule_copy(sch, blocks.output)
    if blocks.dot:
        sch.tensorize(lane, blocks.dot.intrin(_lanes(blocks)))  # at last: no block can be moved past it
    if _written(sch, blocks) >= MIN_LANES:
        return sch
    return s_tir.Schedule(whole_tiles(sch.mod["main"], channel, blocks.tile.channels, blocks.tile.lanes))


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
    dims = len(sch.get(roles[SUMS]).writes[0].source.shape)
    if dims in (MATMUL_DIMS, MERGED_DIMS):
        merge_rows(sch, after[host], keep=dims - MATMUL_DIMS)
        # Only in simple form do the indices tell compute_at which rows a tile needs.
        sch = s_tir.Schedule(tirx.transform.StmtSimplify()(sch.mod))
    elif list(sch.get(roles[SUMS]).writes[0].source.shape)[2:-2] == [1] and (space or (1, 1))[1] > 1:
        # the sums of one column of pixels are a row
        sch.transform_block_layout(after[host], tirx.IndexMap.from_func(lambda n, h, w, c: [n, w, h, c]))
    return sch


def _blocks(sch: s_tir.Schedule) -> Blocks:
    root = sch.get_sblock("root")
    roles = {str(sch.get(block).annotations.get(KERNEL, "")): block for block in sch.get_child_blocks(root)}
    sums = roles[SUMS]
    (host,), (output,) = sch.get_consumers(sums), sch.get_output_blocks(root)
    annotations = sch.get(sums).annotations
    positions, channels = (int(extent) for extent in sch.get(sums).writes[0].source.shape[-2:])
    tile = Tile(int(annotations[PIXELS]), channels, int(annotations[LANES]))
    return Blocks(sums, roles.get(PAD), host, output, tile, positions, DOTS.get(str(annotations.get(DOT))))


def _lanes(blocks: Blocks) -> int:
    """Channels of one vector, or of one call."""
    kinds = blocks.dot.lanes if blocks.dot else (blocks.tile.lanes,)
    return max(lanes for lanes in kinds if blocks.tile.lanes % lanes == 0)


def _gather_calls(sch: s_tir.Schedule, blocks: Blocks) -> None:
    """Put the sums of each call of several pixels together in memory."""
    pixels, lanes = (blocks.dot.pixels if blocks.dot else 1), _lanes(blocks)

    def gathered(*index: tirx.Var) -> list[tirx.Expr]:
        *outer, pixel, channel = index
        return [*outer, pixel // pixels, channel // lanes, pixel % pixels, channel % lanes]

    if pixels > 1:
        dimensions = len(sch.get(blocks.sums).writes[0].source.shape)
        sch.transform_layout(blocks.sums, ("write", 0), tirx.IndexMap.from_func(gathered, ndim=dimensions))


def _extents(sch: s_tir.Schedule, block: Block) -> tuple[int, ...] | None:
    """Extents of an elementwise block; None of a reduction or of extents that are no numbers."""
    extents = []
    for var in sch.get(block).iter_vars:
        if var.iter_type != tirx.IterVar.DataPar or not isinstance(var.dom.extent, tirx.IntImm):
            return None
        extents.append(int(var.dom.extent))
    return tuple(extents)


def _tiled(sch: s_tir.Schedule, blocks: Blocks, machine: Machine) -> tuple[Loop, Loop, tirx.Var] | None:
    """Tile the host and make the sums in it. The parallel loop; for the dot product, that of one vector's sums; and the
    host's loop over a tile's channels, as it was before there were vectors.

    None when the sums are not a tile there.
    """
    tile = blocks.tile
    reductions = sum(var.iter_type == tirx.IterVar.CommReduce for var in sch.get(blocks.sums).iter_vars)
    spatial = len(sch.get(blocks.sums).iter_vars) - reductions
    *outer, pixel, channel = sch.get_loops(blocks.host)
    pixel_tile, pixel = sch.split(pixel, [blocks.positions // tile.pixels, tile.pixels])
    channel_tile, channel = sch.split(channel, [None, tile.channels])
    others = prod(int(sch.get(loop).extent) for loop in outer)
    run, group = task_of(machine, work_of(sch, blocks.sums, tile, others, copies=blocks.pad is not None))
    runs, pixel_tile = sch.split(pixel_tile, [None, run])
    groups, channel_tile = sch.split(channel_tile, [None, group])
    sch.reorder(*outer[:1], groups, *outer[1:], runs, channel_tile, pixel_tile, pixel, channel)
    task = sch.fuse(*outer[:1], groups, *outer[1:], runs)
    sch.parallel(task)
    sch.compute_at(blocks.sums, pixel_tile, preserve_unit_loops=True)
    inner = sch.get_loops(blocks.sums)[-(spatial + reductions) :]
    made = [_extent(sch, loop) for loop in inner[:spatial]]
    lanes = _lanes(blocks) if made[-1] == tile.channels else 1  # of a single output channel, only that one is made
    fewest = tile.channels if blocks.dot else 1
    if made[:-1] != [*[1] * (spatial - 2), tile.pixels] or made[-1] not in (tile.channels, fewest):
        return None
    pixels = blocks.dot.pixels if blocks.dot else 1
    *terms, call = inner[spatial:] if blocks.dot else (*inner[spatial:], None)
    sch.reorder(*terms, *inner[:spatial], *([call] if call else []))
    if len(terms) > 1 and _in_a_row(sch, blocks.sums, _extent(sch, terms[-1]), blocks.dot):
        sch.fuse(*terms[-2:])
    first = _unrolled(sch, inner[spatial - 2], inner[spatial - 1], pixels, lanes)[0]
    if not blocks.dot:
        sch.vectorize(first)
    init = sch.get_loops(sch.decompose_reduction(blocks.sums, inner[spatial]))
    sch.vectorize(sch.fuse(*_unrolled(sch, init[-2], init[-1], pixels, lanes)))
    end = sch.get(channel).loop_var
    _write_back(sch, blocks, channel)
    return task, first, end


def _in_a_row(sch: s_tir.Schedule, sums: Block, steps: int | None, dot: Dot | None) -> bool:
    """Whether a loop of a few steps over input channels takes all that the data have, so that columns follow on."""
    channels = {int(region.source.shape[-1]) for region in sch.get(sums).reads if len(region.source.shape) == 4}
    return steps is not None and steps < FEW_CHANNELS and channels == {steps * (dot.terms if dot else 1)}


def _unrolled(sch: s_tir.Schedule, pixel: Loop, channel: Loop, pixels: int, lanes: int) -> list[Loop]:
    """Unroll the tile but for `pixels` x `lanes` of its sums, whose loops are the result."""
    vectors, lane = sch.split(channel, [None, lanes])
    if pixels == 1:
        inner = [lane]
    else:
        pixel, in_call = sch.split(pixel, [None, pixels])
        sch.reorder(vectors, in_call)
        inner = [in_call, lane]
    sch.unroll(vectors)
    sch.unroll(pixel)
    return inner


def _write_back(sch: s_tir.Schedule, blocks: Blocks, channel: Loop) -> None:
    """Vectors as long as divide the channels, so that none of them crosses the end; else `whole_tiles` makes some."""
    lanes = _written(sch, blocks)
    if lanes >= MIN_LANES:
        vectors, inner = sch.split(channel, [None, lanes])
        sch.vectorize(inner)
        sch.unroll(vectors)


def _written(sch: s_tir.Schedule, blocks: Blocks) -> int:
    """The longest vector that divides the host's channels."""
    return dividing(blocks.tile.lanes, int(sch.get(blocks.host).iter_vars[-1].dom.extent))


def _extent(sch: s_tir.Schedule, loop: Loop) -> int | None:
    """The loop's extent; None when it is no number."""
    extent = sch.get(loop).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else None
