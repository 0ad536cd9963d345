"""What one task of a packed kernel takes: how many tiles of pixels, for how many tiles of channels.

A task copies the data that it reads (padding, panels) once for all of its channels, and what fits the second cache
stays there. So more channels to a task save copies, more pixels save weights that are fetched from afar, and both leave
fewer tasks to share out. Tasks are shared out as TVM does it: as many to each core.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import tvm

from tvm_split.passes.divisors import divisors, even
from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tiles import COPY, FAR, LINE_BYTES, MIN_LANES, Tile, tile_time, tiles_of

# In multiply-adds of a whole vector, as the times of tiles.py.
#: to begin a task
TASK = 200.0
#: what to count of a task's time for threads that are fewer than the cores, or not equally fast
UNEQUAL = 0.02
#: so many tiles, the best ones by themselves, are tried with their tasks
LIKELY = 6


@dataclass(frozen=True, slots=True)
class Work:
    """All that a kernel does: tiles of pixels and of channels, `others` times (images, and rows that stand apart).

    n tiles of pixels read ahead + n * each elements of the data, which are copied first if `copies`. decode: time to
    decode a tile of channels' weights.
    """

    tile: Tile
    pixel_tiles: int
    channel_tiles: int
    others: int
    terms: int
    ahead: int
    each: int
    copies: bool
    dtype: str
    decode: float = 0.0


def task_of(machine: Machine, work: Work) -> tuple[int, int]:
    """Tiles of pixels and tiles of channels of a task with the least estimated time; they divide what there is."""
    choices = [(run, group) for run in divisors(work.pixel_tiles) for group in divisors(work.channel_tiles)]
    return min(choices, key=lambda choice: work_time(machine, work, *choice))


def work_time(machine: Machine, work: Work, run: int, group: int) -> float:
    """Time of all tasks of `run` tiles of pixels for `group` tiles of channels."""
    item_bytes = tvm.DataType(work.dtype).bits // 8
    runs = work.others * (work.pixel_tiles // run)
    read = work.ahead + run * work.each
    weights = work.terms * work.tile.channels * item_bytes
    # Weights that fit stay from task to task, data that fit stay from channels to channels.
    weights_for = 1 if read * item_bytes + group * weights > machine.l2_bytes else runs
    reads = group if read * item_bytes + weights > machine.l2_bytes else 1
    # Of a copy, what the cache cannot hold comes in before it is written, and goes out.
    out = 2 * max(read * item_bytes - machine.l2_bytes, 0) if work.copies else 0
    lines = (group * weights / weights_for + read * item_bytes * reads + out) / LINE_BYTES
    copied = COPY * read / machine.lanes(work.dtype) if work.copies else 0.0
    tiles = run * group * tile_time(machine, work.tile, work.terms, work.dtype, work.pixel_tiles * work.others)
    tasks = runs * (work.channel_tiles // group)
    task: float = TASK + copied + tiles + group * work.decode + FAR * lines
    return (-(-tasks // machine.cores) + UNEQUAL) * task


def run_of(tiles: int, others: int, cores: int, *, enough: int, least: int = 1, most: int = sys.maxsize) -> int:
    """Tiles that a task takes, `others` times: a divisor, as large as shares out well; else as small as may be.

    With `enough` tasks a core, what the last ones leave idle does not count; fewer must be as many for each core.
    """
    runs = [n for n in divisors(tiles) if n <= most and (n >= least or n == tiles)]
    fair = [n for n in runs if tiles // n * others >= enough * cores or tiles // n * others % cores == 0]
    return max(fair, default=min(runs))


def conv_tile_of(
    machine: Machine, shape: tuple[int, int], channels: int, window: tuple[int, int, int], stride: int, dtype: str,
    *, padded: bool,
) -> Tile:  # fmt: skip
    """The tile of a convolution to `shape` rows and columns; the window is rows, columns and channels that are summed.

    Rows are merged where that takes less time. A merged convolution copies what each column of the window meets, with a
    `stride` what each of its elements does; another one copies only what is `padded`, but row by row.
    """
    (height, width), (kernel_h, kernel_w, inner) = shape, window
    terms = kernel_h * kernel_w * inner
    views, below = (kernel_w, (kernel_h - 1) * width) if stride == 1 else (kernel_w * kernel_h, 0)

    def apart(tile: Tile) -> Work:
        ahead, each = max(kernel_w - stride, 0), tile.pixels * (stride if padded else min(kernel_w, stride))
        return Work(
            tile, -(-width // tile.pixels), -(-channels // tile.channels), height, terms,
            kernel_h * ahead * inner, kernel_h * each * inner, padded, dtype,
        )  # fmt: skip

    def merged(tile: Tile) -> Work:
        return Work(
            replace(tile, merged=True), even(-(-height * width // tile.pixels)), -(-channels // tile.channels), 1,
            terms, views * below * inner, views * tile.pixels * inner, True, dtype,
        )  # fmt: skip

    works = [apart(tile) for tile in tiles_of(machine, width, channels, terms, dtype)[:LIKELY]]
    if inner % MIN_LANES == 0 and height > 1:
        works += [merged(tile) for tile in tiles_of(machine, height * width, channels, terms, dtype)[:LIKELY]]
    return min(works, key=lambda work: work_time(machine, work, *task_of(machine, work))).tile
