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
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from tvm_split.passes.kernels.conv2d import LANES, PIXELS, SUMS, UNPACK
from tvm_split.passes.kernels.conv2d_dot import DOT
from tvm_split.passes.kernels.stored import DECODE
from tvm_split.passes.kernels.window import PAD
from tvm_split.passes.schedule.blocks import extent_of
from tvm_split.passes.schedule.decode import decode_at, decoded_in_steps, decoding_task
from tvm_split.passes.schedule.dot import Dot
from tvm_split.passes.schedule.dot_kinds import DOTS
from tvm_split.passes.schedule.hosts import (
    Block,
    Loop,
    channels_made,
    copy_out,
    hosted,
    hosted_again,
    merge_rows,
    whole_tiles,
    write_back,
)
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.packed_pad import packed_pad
from tvm_split.passes.schedule.tasks import task_of
from tvm_split.passes.schedule.tiles import Tile
from tvm_split.passes.schedule.work import work_of

log = logging.getLogger("tvm_split.passes")

#: LLVM would write out fewer input channels, in registers that the sums need: they go into the loop over columns
FEW_CHANNELS = 8
#: dimensions of a matrix product's sums: tile of columns, row, column; of a convolution over merged rows, and images
MATMUL_DIMS, MERGED_DIMS = 3, 4


@dataclass(frozen=True)
class Kernel:
    """Blocks by their role, as `hosted` names them, and the form of the sums."""

    roles: Mapping[str, Block]
    tile: Tile
    positions: int  # whole tiles of pixels may go beyond what the host needs
    dot: Dot | None

    @property
    def pixels(self) -> int:
        """Pixels of one call."""
        return self.dot.pixels if self.dot else 1

    @property
    def lanes(self) -> int:
        """Channels of one vector, or of one call."""
        kinds = self.dot.lanes if self.dot else (self.tile.lanes,)
        return max(lanes for lanes in kinds if self.tile.lanes % lanes == 0)


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
    kernel = _kernel(sch)
    _gather_calls(sch, kernel)
    loops = _tiled(sch, kernel, machine)
    if loops is None:
        return None
    task, lane, channel, place = loops
    end, channels = sch.get(channel).loop_var, int(sch.get(kernel.roles["host"]).iter_vars[-1].dom.extent)
    if DECODE in kernel.roles:
        decode_at(sch, kernel.roles[DECODE], place)
    is_written = write_back(sch, channel, channels, kernel.tile.lanes)
    if PAD in kernel.roles:
        packed_pad(sch, kernel.roles[PAD], task, machine)
    copy_out(sch, kernel.roles)
    if kernel.dot:
        sch.tensorize(lane, kernel.dot.intrin(kernel.lanes))  # at last: no block can be moved past it
    if is_written:
        return sch
    return s_tir.Schedule(whole_tiles(sch.mod["main"], end, kernel.tile.channels, kernel.tile.lanes))


def inlined(func: tirx.PrimFunc) -> s_tir.Schedule | None:
    """The function with all that follows the sums in one block, in two when it ends in another shape."""
    sch = s_tir.Schedule(func)
    roles = hosted(sch, SUMS, UNPACK, (PAD, DECODE))
    if roles is None:
        return None
    host, shape = roles["host"], [int(extent) for extent in sch.get(roles[SUMS]).writes[0].source.shape]
    if len(shape) in (MATMUL_DIMS, MERGED_DIMS):
        return merge_rows(sch, host, keep=len(shape) - MATMUL_DIMS)
    if shape[2:-2] == [1] and int(sch.get(host).iter_vars[1].dom.extent) > 1:
        # the sums of one column of pixels are a row
        sch.transform_block_layout(host, tirx.IndexMap.from_func(lambda n, h, w, c: [n, w, h, c]))
    return sch


def _kernel(sch: s_tir.Schedule) -> Kernel:
    roles = hosted_again(sch, SUMS)
    sums = sch.get(roles[SUMS])
    positions, channels = (int(extent) for extent in sums.writes[0].source.shape[-2:])
    tile = Tile(int(sums.annotations[PIXELS]), channels, int(sums.annotations[LANES]))
    return Kernel(roles, tile, positions, DOTS.get(str(sums.annotations.get(DOT))))


def _gather_calls(sch: s_tir.Schedule, kernel: Kernel) -> None:
    """Put the sums of each call of several pixels together in memory."""
    pixels, lanes = kernel.pixels, kernel.lanes

    def gathered(*index: tirx.Var) -> list[tirx.Expr]:
        *outer, pixel, channel = index
        return [*outer, pixel // pixels, channel // lanes, pixel % pixels, channel % lanes]

    if pixels > 1:
        sums = kernel.roles[SUMS]
        dimensions = len(sch.get(sums).writes[0].source.shape)
        sch.transform_layout(sums, ("write", 0), tirx.IndexMap.from_func(gathered, ndim=dimensions))


def _tiled(sch: s_tir.Schedule, kernel: Kernel, machine: Machine) -> tuple[Loop, Loop, Loop, Loop] | None:
    """Tile the host and make the sums in it. The parallel loop; for the dot product, that of one vector's sums; the
    host's loop over a tile's channels; and the loop in which stored codes are decoded.

    None when the sums are not a tile there.
    """
    tile, sums, stored = kernel.tile, kernel.roles[SUMS], kernel.roles.get(DECODE)
    reductions = sum(var.iter_type == tirx.IterVar.CommReduce for var in sch.get(sums).iter_vars)
    spatial = len(sch.get(sums).iter_vars) - reductions
    *outer, pixel, channel = sch.get_loops(kernel.roles["host"])
    pixel_tile, pixel = sch.split(pixel, [kernel.positions // tile.pixels, tile.pixels])
    channel_tile, channel = sch.split(channel, [None, tile.channels])
    others = prod(extent_of(sch, loop) for loop in outer)
    work, lines, inside = work_of(sch, sums, tile, others, copies=PAD in kernel.roles), 1, []
    if stored is None:
        run, group = task_of(machine, work)
    else:
        lines, run, group = decoding_task(sch, machine, kernel.roles, work)
    if lines > 1:
        outer[-1], line = sch.split(outer[-1], [None, lines])
        inside = [line]
    runs, pixel_tile = sch.split(pixel_tile, [None, run])
    groups, channel_tile = sch.split(channel_tile, [None, group])
    sch.reorder(*outer[:1], groups, *outer[1:], runs, channel_tile, *inside, pixel_tile, pixel, channel)
    task = sch.fuse(*outer[:1], groups, *outer[1:], runs)
    sch.parallel(task)
    sch.compute_at(sums, pixel_tile, preserve_unit_loops=True)
    inner = sch.get_loops(sums)[-(spatial + reductions) :]
    made = channels_made(sch, inner[:spatial], tile.pixels, tile.channels)
    if made is None or (kernel.dot and made != tile.channels):
        return None
    lanes = kernel.lanes if made == tile.channels else 1  # of a single output channel, only that one is made
    *terms, call = inner[spatial:] if kernel.dot else (*inner[spatial:], None)
    sch.reorder(*terms, *inner[:spatial], *([call] if call else []))
    place, steps = channel_tile, extent_of(sch, terms[-1])
    taken = decoded_in_steps(sch, stored, steps) if stored and run * lines == 1 else None
    if taken is not None:
        terms[-1:] = sch.split(terms[-1], [None, taken])
        place = terms[-2]
    elif len(terms) > 1 and _in_a_row(sch, sums, steps, kernel.dot):
        sch.fuse(*terms[-2:])
    first = _unrolled(sch, inner[spatial - 2], inner[spatial - 1], kernel.pixels, lanes)[0]
    if not kernel.dot:
        sch.vectorize(first)
    init = sch.get_loops(sch.decompose_reduction(sums, terms[0]))
    sch.vectorize(sch.fuse(*_unrolled(sch, init[-2], init[-1], kernel.pixels, lanes)))
    return task, first, channel, place


def _in_a_row(sch: s_tir.Schedule, sums: Block, steps: int, dot: Dot | None) -> bool:
    """Whether a loop of a few steps over input channels takes all that the data have, so that columns follow on."""
    channels = {int(region.source.shape[-1]) for region in sch.get(sums).reads if len(region.source.shape) == 4}
    return steps < FEW_CHANNELS and channels == {steps * (dot.terms if dot else 1)}


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
