"""Where and how kernels decode weights that are stored at few bits (kernels/stored.py).

    Given:   decode; sums, tiled, of what it makes
    Result:  for tile of channels: decode: for group of codes: vectors, written out    scratch of one tile
               for row, tile of pixels: sums
             where a tile of channels has one tile of pixels only: decode what the next steps over terms read, which
             registers most often hold

A task takes more rows than it does of weights that need no decoding, so that what is decoded serves many pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd, prod

from tvm import s_tir

from tvm_split.passes.divisors import divisors
from tvm_split.passes.kernels.conv2d import SUMS
from tvm_split.passes.kernels.stored import AT_ONCE, BITS, STEP, group_of, steps_of_group
from tvm_split.passes.kernels.window import PAD
from tvm_split.passes.schedule.blocks import extent_of
from tvm_split.passes.schedule.hosts import Block, Loop
from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tasks import Work, work_time
from tvm_split.passes.schedule.work import span

#: dimensions of the result of a convolution
CONV_DIMS = 4
#: to decode a vector of codes, in multiply-adds of a whole vector, as the times of tiles.py
DECODING = 6.0
#: vectors of a step that are written out
MOST_WRITTEN = 16


def decode_at(sch: s_tir.Schedule, decode: Block, place: Loop) -> None:
    """Make what is needed inside of that loop there, in vectors whose shifts are constants."""
    form = _form(sch, decode)
    sch.compute_at(decode, place, preserve_unit_loops=True)
    inner = sch.get_loops(decode)[-len(sch.get(decode).iter_vars) :]
    steps, inside = inner[-form.dims - 1], sch.fuse(*inner[-form.dims :])
    if not form.is_whole(extent_of(sch, steps)):
        return  # a few codes that no vector fits
    vectors = form.step // form.lanes
    _, at_once = sch.split(steps, [None, form.together])
    several, vector, lane = sch.split(inside, [None, gcd(vectors, group_of(form.bits)), form.lanes])
    for loop in (at_once, vector, *([several] if vectors <= MOST_WRITTEN else [])):
        sch.unroll(loop)
    sch.vectorize(lane)


def decoded_in_steps(sch: s_tir.Schedule, decode: Block, steps: int) -> int | None:
    """How many of the `steps` over input channels take whole groups of codes; None where that is too much to keep."""
    form = _form(sch, decode)
    return form.together if form.is_whole(steps) and form.together * form.step <= AT_ONCE else None


@dataclass(frozen=True)
class _Form:
    """Codes to a vector, bits of each, codes that a step reads, in how many dimensions."""

    lanes: int
    bits: int
    step: int
    dims: int

    @property
    def together(self) -> int:
        """Steps that are whole groups of vectors."""
        return steps_of_group(self.step, self.lanes, self.bits)

    def is_whole(self, steps: int) -> bool:
        return self.step % self.lanes == 0 and steps % self.together == 0


def _form(sch: s_tir.Schedule, decode: Block) -> _Form:
    block = sch.get(decode)
    shape, step = [int(extent) for extent in block.writes[0].source.shape], int(block.annotations[STEP])
    dims = next(n for n in range(1, len(shape)) if prod(shape[-n:]) == step)
    return _Form(int(block.reads[0].source.shape[-1]), int(block.annotations[BITS]), step, dims)


def decoding_task(
    sch: s_tir.Schedule, machine: Machine, roles: Mapping[str, Block], work: Work
) -> tuple[int, int, int]:
    """Rows, tiles of pixels and tiles of channels of a task with the least estimated time; as `task_of` otherwise.

    More than one row is taken of whole rows only.
    """
    block, host = sch.get(roles[SUMS]), sch.get(roles["host"])
    data = block.reads[0].source
    elements = work.terms * work.tile.channels
    work = replace(work, decode=DECODING * elements / machine.vector_bytes)
    rows = int(host.iter_vars[1].dom.extent) if len(host.iter_vars) == CONV_DIMS else 1  # else rows are merged
    first = work.ahead + work.pixel_tiles * work.each
    ahead, each = span(sch, roles[SUMS], data, 1, copies=PAD in roles, axis=-3) if rows > 1 else (0, 1)
    further = first * each / (ahead + each)

    def time(choice: tuple[int, int, int]) -> float:
        lines, run, group = choice
        if lines == 1:
            return work_time(machine, work, run, group)
        tiles = lines * work.pixel_tiles
        taken = replace(
            work, pixel_tiles=tiles, others=work.others // lines,
            ahead=int(first - further), each=int(further / work.pixel_tiles),
        )  # fmt: skip
        return work_time(machine, taken, tiles, group)

    pairs = [(1, run) for run in divisors(work.pixel_tiles)]
    pairs += [(lines, work.pixel_tiles) for lines in divisors(rows) if lines > 1]
    return min(((*pair, group) for pair in pairs for group in divisors(work.channel_tiles)), key=time)
