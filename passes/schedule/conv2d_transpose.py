"""Schedule of transposed convolutions (kernels/conv2d_transpose.py) with whatever elementwise operators follow.

    Given:   pad; sums; unpack; bias add; activation
    Result:  parallel over (image, tile of channels, rows of one input row, run of tiles):
               pad of the rows that are read
               for phase: for tile of pixels:
                 pixels x channels sums to zero                      vectors, unrolled
                 for the phase's taps, ic: sums += data * weight     vectors, unrolled
                 the rest, one vector after the other

The order of summation is the unscheduled kernel's. Taps that only fill up the weights are left out: of a result they
change no more than the sign of a zero, or what an infinite number of the data makes of zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.kernels.conv2d import LANES, PIXELS
from tvm_split.passes.kernels.conv2d_transpose import (
    BEFORE,
    JOIN,
    KERNELS,
    PAD,
    STRIDES,
    SUMS,
    UNPACK,
)
from tvm_split.passes.kernels.window import KERNEL
from tvm_split.passes.schedule.blocks import extent_of
from tvm_split.passes.schedule.hosts import (
    Block,
    Loop,
    as_vectors,
    channels_made,
    copy_out,
    extents_are,
    hosted,
    pad_at,
    write_back,
)
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tasks import run_of

#: a task of this many tiles hides its own cost
MAX_RUN = 16
#: with this many tasks a core, what the last ones leave idle does not count
TASKS_A_CORE = 16


class TransposedConvolution(ScheduleRule):
    """Functions of the blocks above; None for any other."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        roles = hosted(sch, SUMS, UNPACK, (PAD, JOIN))
        if roles is None:
            return None
        machine = machine_of(target)
        sums, join = roles[SUMS], roles[JOIN]
        annotations = sch.get(sums).annotations
        if KERNELS not in annotations:
            return _points(sch, roles, machine)
        strides, kernel, before = ([int(n) for n in annotations[key]] for key in (STRIDES, KERNELS, BEFORE))
        pixels, lanes = int(annotations[PIXELS]), int(annotations[LANES])
        channels = int(sch.get(sums).writes[0].source.shape[-1])
        rank = len(strides)

        image, *space, channel = sch.get_loops(join)
        rows, phases = space[:-2:2], space[1::2]
        out_channels = int(sch.get(join).iter_vars[-1].dom.extent)
        tiles, pixel = sch.split(space[-2], [None, pixels])
        channel_tile, channel = sch.split(channel, [None, channels])
        run, tile = _in_runs(sch, [image, channel_tile, *rows], tiles, machine.cores)
        sch.reorder(image, channel_tile, *rows, run, *phases, tile, pixel, channel)
        task = sch.fuse(image, channel_tile, *rows, run)
        sch.parallel(task)
        sch.compute_at(sums, tile, preserve_unit_loops=True)
        kept = 1 + 2 * rank + 2  # image, phases, tile of channels, pixels, channel
        inner = list(sch.get_loops(sums))[-(kept + rank + 1) :]
        made = channels_made(sch, inner[:kept], pixels, channels)
        if made is None:
            return None
        lanes = lanes if made == channels else 1  # of a single channel, only that one is made
        sch.reorder(*inner[kept:], *inner[:kept])
        as_vectors(sch, (inner[kept - 2],), inner[kept - 1], lanes)
        *_, zero_pixels, zero_channels = sch.get_loops(sch.decompose_reduction(sums, inner[kept]))
        as_vectors(sch, (zero_pixels,), zero_channels, lanes)
        write_back(sch, channel, out_channels, lanes)
        if PAD in roles:
            pad_at(sch, roles[PAD], task, machine)
        copy_out(sch, roles)
        kept_channels = tvm.get_global_func("s_tir.schedule.GetSBlockRealize")(sch, join).predicate
        sch.reverse_compute_inline(roles["host"])  # at last: no primitive moves a block under the condition of its ends
        taps = zip(inner[kept : kept + rank], phases, kernel, strides, before, strict=True)
        ends = _ends(sch, [each for each in taps if each[2] % each[3]])
        return s_tir.Schedule(_finished(sch.mod["main"], ends, kept_channels))


def _points(sch: s_tir.Schedule, roles: Mapping[str, Block], machine: Machine) -> s_tir.Schedule | None:
    """Of a kernel as large as its stride: the sums of a tile hold all phases, which are written row by row."""
    sums, join = roles[SUMS], roles[JOIN]
    annotations, channels = sch.get(sums).annotations, int(sch.get(sums).writes[0].source.shape[-1])
    pixels, lanes = int(annotations[PIXELS]), int(annotations[LANES])
    image, *space, channel = sch.get_loops(join)
    rows, phases = space[:-2:2], space[1::2]
    tiles, pixel = sch.split(space[-2], [None, pixels])
    run, tile = _in_runs(sch, [image, *rows], tiles, machine.cores)
    sch.reorder(image, *rows, run, tile, *phases[:-1], pixel, phases[-1], channel)
    task = sch.fuse(image, *rows, run)
    sch.parallel(task)
    sch.compute_at(sums, tile, preserve_unit_loops=True)
    *kept, term = list(sch.get_loops(sums))[-(len(rows) + 4) :]
    if not extents_are(sch, kept, [*[1] * (len(kept) - 2), pixels, channels]):
        return None
    sch.reorder(term, *kept)
    as_vectors(sch, (kept[-2],), kept[-1], lanes)
    *_, zero_pixels, zero_channels = sch.get_loops(sch.decompose_reduction(sums, term))
    as_vectors(sch, (zero_pixels,), zero_channels, lanes)
    for loop in (*phases, pixel, channel):
        sch.unroll(loop)
    if PAD in roles:
        pad_at(sch, roles[PAD], task, machine)
    copy_out(sch, roles)
    sch.reverse_compute_inline(roles["host"])
    return sch


def _in_runs(sch: s_tir.Schedule, others: list[Loop], tiles: Loop, cores: int) -> list[Loop]:
    """Tiles that one core takes one after the other: a task costs, but too few of them share out badly."""
    outer = prod(extent_of(sch, loop) for loop in others)
    taken = run_of(extent_of(sch, tiles), outer, cores, enough=TASKS_A_CORE, most=MAX_RUN)
    return list(sch.split(tiles, [None, taken]))


def _ends(sch: s_tir.Schedule, uneven: list[tuple[Loop, Loop, int, int, int]]) -> list[tuple[tirx.Var, tirx.Expr]]:
    """Variables of loops over taps, and how many taps the phase has: (kernel - first of them) / stride of them."""
    found = []
    for tap, phase, kernel, stride, before in uneven:
        first = tirx.floormod(sch.get(phase).loop_var + before, stride)
        found.append((sch.get(tap).loop_var, tirx.floordiv(kernel + stride - 1 - first, stride)))
    return found


def _finished(func: tirx.PrimFunc, ends: list[tuple[tirx.Var, tirx.Expr]], kept: tirx.Expr) -> tirx.PrimFunc:
    """What no primitive does: loops over taps end where their phase does, and the result keeps its own condition, which
    reverse_compute_inline replaces."""

    def shorten(loop: tirx.For) -> tirx.For:
        for var, end in ends:
            if loop.loop_var.same_as(var):
                return tirx.For(var, loop.min, end, loop.kind, loop.body, None, loop.annotations)
        return loop

    def condition(realize: s_tir.SBlockRealize) -> s_tir.SBlockRealize:
        if realize.block.annotations.get(KERNEL, "") != JOIN:
            return realize
        return s_tir.SBlockRealize(realize.iter_values, tirx.And(kept, realize.predicate), realize.block)

    rewrites = [(tirx.For, shorten), (s_tir.SBlockRealize, condition)]
    return func.with_body(tvm_ffi.structural_map(func.body, rewrites))
