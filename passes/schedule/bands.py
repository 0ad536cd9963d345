"""How much of a Winograd convolution (kernels/conv2d_winograd.py) one task takes: rows of blocks, tiles of channels.

A task makes the patches of its band, then the sums of each of their 16 elements for its tiles of channels. A higher
band saves weights that are fetched from afar; more channels save patches that other tasks make again; and both leave
less to share out, and more than the second cache holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_split.passes.divisors import divisors
from tvm_split.passes.kernels.conv2d import round_up
from tvm_split.passes.schedule.machine import Machine
from tvm_split.passes.schedule.tasks import LIKELY, TASK, UNEQUAL
from tvm_split.passes.schedule.tiles import COPY, FAR, FITS, LINE_BYTES, Tile, tile_time, tiles_of

DTYPE, ITEM_BYTES = "float32", 4
#: elements of a patch, and so of the sums of a block
ELEMENTS = 16
#: share of the time of a line from afar, where it follows the one before
IN_ORDER = 0.5
#: times that differ by less are equal, as far as this estimate can tell
ABOUT = 1.03
# Time of a block and a vector of its channels, in multiply-adds of a whole vector, as the times of tiles.py.
#: to make its patch; to make four elements of the result of its sums
MAKE, FOLD = 24 * COPY, 14 * COPY


@dataclass(frozen=True, slots=True)
class Blocks:
    """All blocks of a layer: `columns` of them in each of `lines` rows of an image, and the channels in and out."""

    images: int
    lines: int
    columns: int
    inner: int
    channels: int


def band_of(machine: Machine, blocks: Blocks) -> tuple[Tile, int]:
    """The register tile, and the rows of blocks of a band: of those with about the least estimated time, the one that
    keeps the fewest bytes."""

    def band(rows: int) -> tuple[float, int, Tile, int]:
        tiles = tiles_of(machine, rows * blocks.columns, blocks.channels, blocks.inner, DTYPE)[:LIKELY]
        groups = [group_of(machine, blocks, tile, rows) for tile in tiles]
        each = [(band_time(machine, blocks, tile, rows, group), kept_bytes(blocks, tile, rows, group))
                for tile, group in zip(tiles, groups, strict=True)]  # fmt: skip
        best = each.index(min(each))
        return *each[best], tiles[best], rows

    bands = [band(rows) for rows in range(1, blocks.lines + 1)]
    least = min(time for time, *_ in bands)
    _, _, tile, rows = min((each for each in bands if each[0] <= ABOUT * least), key=lambda each: each[1])
    return tile, rows


def group_of(machine: Machine, blocks: Blocks, tile: Tile, rows: int) -> int:
    """Tiles of channels of a task with the least estimated time; they divide what there is."""
    groups = divisors(-(-blocks.channels // tile.channels))
    return min(groups, key=lambda group: band_time(machine, blocks, tile, rows, group))


def band_time(machine: Machine, blocks: Blocks, tile: Tile, rows: int, group: int) -> float:
    """Time of all tasks of `rows` rows of blocks and `group` tiles of channels."""
    across = -(-rows * blocks.columns // tile.pixels)
    made, lanes = across * tile.pixels, machine.lanes(DTYPE)
    channels = group * tile.channels
    transforms = made * (MAKE * blocks.inner + FOLD * channels) / lanes
    sums = ELEMENTS * group * across * tile_time(machine, tile, blocks.inner, DTYPE, across)
    kept = kept_bytes(blocks, tile, rows, group)
    weights = ELEMENTS * blocks.inner * channels * ITEM_BYTES
    # Weights come in for each band. What the cache cannot hold of patches and sums is fetched to be written, goes out
    # and comes in again.
    moved = weights * IN_ORDER + 3 * max(kept - machine.l2_bytes * FITS, 0)
    tasks = blocks.images * -(-blocks.lines // rows) * (-(-blocks.channels // tile.channels) // group)
    return (-(-tasks // machine.cores) + UNEQUAL) * (TASK + transforms + sums + FAR * moved / LINE_BYTES)


def kept_bytes(blocks: Blocks, tile: Tile, rows: int, group: int) -> int:
    """Patches and sums of one task."""
    positions = round_up(rows * blocks.columns, tile.pixels)
    return ELEMENTS * positions * (blocks.inner + group * tile.channels) * ITEM_BYTES
