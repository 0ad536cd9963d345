"""Windows that slide over channels-last data: depthwise convolutions (kernels/depthwise.py), and pooling by them.

    Given:   pad; for n, h, w, c: (sum over kh, kw of pad[n, h + kh, w + kw, c] * weight[kh, kw, c]); bias; activation
    Result:  parallel over (image, row, vector of channels):
               for tile of pixels: pixels x 1 vectors of sums in registers, the window written out; bias; activation

The padding is a condition on what is read. LoopPartition takes the border tiles off the loop over tiles, and the window
is written out, so conditions on columns are gone after compilation, and of those on rows one is left for each row of
the window. On EfficientNet-Lite0's shapes this took 0.5 to 0.9 of the time of a padded copy, of a few rows or of all.

The order of summation is the unscheduled kernel's. A product with padding is not computed where that is known when
compiling: it is 0 unless the weight is infinite or no number.
"""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.kernels.depthwise import DEPTHWISE
from tvm_split.passes.schedule.blocks import (
    PARALLEL_STEPS,
    PARTITION,
    Block,
    block_of,
    dividing_lanes,
    extent_of,
    inline_spatial,
    is_copy,
    kernel_of,
    opened,
)
from tvm_split.passes.schedule.machine import Machine, machine_of

#: pixels of a tile: more take more registers and more instructions, fewer read the weights too often
MIN_PIXELS, MAX_PIXELS = 4, 7
#: tiles of a row with padding: rows of no more become one run of code, of which LLVM keeps vectors on NEON's stack
BORDERS, NEON_BYTES = 2, 16
#: products of a tile that are written out
UNROLL = 256


class Depthwise(ScheduleRule):
    """Functions whose one reduced block has the annotation of kernels/depthwise.py."""

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, _tunable: bool) -> s_tir.Schedule | None:
        sch = s_tir.Schedule(func)
        if DEPTHWISE not in [kernel_of(sch, rv) for rv in sch.get_child_blocks(sch.get_sblock("root"))]:
            return None
        sch = opened(func)
        blocks = inline_spatial(sch)
        return sch if blocks is not None and slide(sch, blocks, machine_of(target)) else None


def slide(sch: s_tir.Schedule, blocks: list[Block], machine: Machine) -> bool:
    """Schedule [pad,] window [, what follows]; False when the blocks are not that or channels are not the last axis."""
    at = next((i for i, block in enumerate(blocks) if not block.is_spatial), None)
    if at is None:
        return False
    pads, window, after = blocks[:at], blocks[at], blocks[at + 1 :]
    if len(pads) > 1 or len(after) > 1 or not _slides(window):
        return False
    lanes = _lanes(sch, window, machine)
    if lanes < 4 or (after and (not after[0].is_spatial or after[0].extents != window.extents[:4])):
        return False
    if pads:
        if not is_copy(sch, pads[0].rv):
            return False
        sch.compute_inline(pads[0].rv)
    last = after[0].rv if after else sch.cache_write(window.rv, 0, "global")
    out = block_of(sch, last)
    if out is None or len(out.extents) != 4:
        return False
    n, h, w, c = sch.get_loops(last)
    tile, pixel = sch.split(w, [None, _pixels(window.extents[2])])
    vector, lane = sch.split(c, [None, lanes])
    if extent_of(sch, tile) > BORDERS or machine.vector_bytes > NEON_BYTES:
        sch.annotate(tile, PARTITION, 1)
    if len(window.reads()) > 1:  # along a row, the weights stay in registers
        sch.reorder(n, h, vector, tile, pixel, lane)
        task, at = sch.fuse(n, h, vector), tile
    else:  # without weights nothing is gained by leaving the order of memory
        sch.reorder(n, h, tile, vector, pixel, lane)
        task, at = sch.fuse(n, h), vector
    if window.steps >= PARALLEL_STEPS:
        sch.parallel(task)
    sch.compute_at(window.rv, at, preserve_unit_loops=True)
    inside = list(sch.get_loops(window.rv))[-len(window.kinds) :]
    made, terms = inside[:4], inside[4:]
    sch.reorder(*terms, *made)
    products = _pixels(window.extents[2])
    for loop, extent in reversed([*zip(terms, window.extents[4:], strict=True)]):
        products *= extent
        if products <= UNROLL:
            sch.unroll(loop)
    written_out(sch, made)
    written_out(sch, list(sch.get_loops(sch.decompose_reduction(window.rv, terms[0])))[-4:])
    written_out(sch, [pixel, lane])
    return True


def written_out(sch: s_tir.Schedule, loops: list[s_tir.schedule.LoopRV]) -> None:
    for loop in loops[:-1]:
        sch.unroll(loop)
    sch.vectorize(loops[-1])


def _slides(block: Block) -> bool:
    """Whether the block makes [N][H][W][C] from windows of [N][H][W][C]."""
    if block.kinds[:4] != "SSSS" or "S" in block.kinds[4:] or len(block.kinds) < 5:
        return False
    return all(walk[3] == 1 or block.extents[3] == 1 for walk in block.strides)


def _lanes(sch: s_tir.Schedule, window: Block, machine: Machine) -> int:
    """A vector of sums; two of them where they are of narrower integers, which are loaded and widened together."""
    lanes = dividing_lanes(machine, window.dtype, window.extents[3])
    widest = max(tvm.DataType(str(read.source.dtype)).bits for read in sch.get(window.rv).reads)
    whole = lanes == machine.lanes(window.dtype) and window.extents[3] % (2 * lanes) == 0
    return 2 * lanes if window.dtype == "int32" and widest < 32 and whole else lanes


def _pixels(width: int) -> int:
    """Pixels of a tile: as few as possible beyond the end of the row, then as many as possible."""
    if width <= MAX_PIXELS:
        return width
    return min(range(MIN_PIXELS, MAX_PIXELS + 1), key=lambda pixels: (-width % pixels, -pixels))
