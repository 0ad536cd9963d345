"""Register tiles of packed kernels: how many pixels by how many output channels a core holds in registers at a time."""

from __future__ import annotations

from dataclasses import dataclass

import tvm

from tvm_split.passes.schedule.machine import Machine

# Times are in multiply-adds of a whole vector. They are rough: only their order decides.
#: multiply-adds that must be under way to hide their latency: 4 cycles, two a cycle
IN_FLIGHT = 8
#: to read a vector of weights and a value of a pixel for all lanes
WEIGHTS, VALUE = 0.6, 0.33
#: where a multiply-add cannot take it from memory itself, as it does with AVX-512
VALUE_ALONE = 0.5
#: the least time for a vector of weights from the second cache (of 32 bytes, 24 of them a cycle), and for a line of it
#: from beyond
NEAR, FAR = 2.7, 8.0
LINE_BYTES = 64
#: of a cache, what weights may take to stay in it from tile to tile
FITS = 0.75
#: to copy a vector of pixels
COPY = 3.0
#: to begin a tile; to set one of its registers to zero and to write it
BEGIN, WRITE = 20.0, 5.0

#: TVM keeps a buffer of fewer bytes on the stack; it asks the run time for a larger one, at every task
STACK_BYTES = 1024
#: bounds of the code that is unrolled
MAX_VECTORS, MAX_PIXELS = 8, 28
#: vectors shorter than this are not worth their instructions
MIN_LANES = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """pixels x channels accumulators, in vectors of `lanes` channels (a power of two that divides `channels`).

    merged: of a convolution, the pixels go on in the next row where a row ends.
    """

    pixels: int
    channels: int
    lanes: int
    merged: bool = False

    @property
    def vectors(self) -> int:
        return self.channels // self.lanes


def tile_of(
    machine: Machine, row: int, channels: int, terms: int, dtype: str, *, exact: bool = False, copies: bool = False
) -> Tile:
    """The first of `tiles_of`."""
    return tiles_of(machine, row, channels, terms, dtype, exact=exact, copies=copies)[0]


def tiles_of(
    machine: Machine, row: int, channels: int, terms: int, dtype: str, *, exact: bool = False, copies: bool = False
) -> list[Tile]:
    """Tiles by their estimated time, the least first, for rows of `row` pixels and sums of `terms` products.

    Rows and channels that the tile does not divide are computed beyond their end, which the estimate counts. `copies`:
    such rows must also be copied first. With `exact`, the tile's channels divide `channels`; ValueError when not even
    MIN_LANES do.
    """
    item_bytes = tvm.DataType(dtype).bits // 8
    tiles = [
        Tile(pixels, vectors * lanes, lanes)
        for lanes in _lanes(machine, channels, dtype)
        for vectors in range(1, MAX_VECTORS + 1)
        for pixels in range(1, min(MAX_PIXELS, row) + 1)
        if pixels * vectors + vectors + 1 + machine.products <= machine.registers
        and pixels * vectors * lanes * item_bytes < STACK_BYTES
        and not (exact and channels % (vectors * lanes))
    ]
    if not tiles:
        raise ValueError(f"no vector of {MIN_LANES} lanes or more divides {channels} output channels")
    whole = machine.lanes(dtype)

    def row_time(tile: Tile) -> float:
        across = -(-row // tile.pixels)
        copy = COPY * row * terms / whole if copies and row % tile.pixels else 0.0
        return -(-channels // tile.channels) * across * tile_time(machine, tile, terms, dtype, across) + copy

    return sorted(tiles, key=row_time)


def tile_time(machine: Machine, tile: Tile, terms: int, dtype: str, passes: int = 1) -> float:
    """Time of one tile of sums of `terms` products, of `passes` of them that read the same weights."""
    held = tile.pixels * tile.vectors
    unit = 1.0 if tile.lanes == machine.lanes(dtype) else machine.half_vector
    loads = (tile.pixels + tile.vectors) * machine.half_vector
    weights = terms * tile.channels * tvm.DataType(dtype).bits // 8
    stays = passes == 1 or weights <= machine.l1_bytes * FITS
    near = 0.0 if stays else NEAR * unit * machine.half_vector * tile.vectors * machine.vector_bytes / 32
    step = max(held * unit, IN_FLIGHT, loads, near) + WEIGHTS * tile.vectors
    step += (VALUE if machine.vector_bytes == 64 else VALUE_ALONE) * machine.half_vector * tile.pixels
    far = FAR * weights / LINE_BYTES if passes > 1 and weights > machine.l2_bytes * FITS else 0.0
    return float(BEGIN + terms * step + WRITE * held + far)


def _lanes(machine: Machine, channels: int, dtype: str) -> list[int]:
    """Whole vectors and shorter ones; longer than the channels only when nothing else is there."""
    lanes = [n for n in (64, 32, 16, 8, 4) if n <= machine.lanes(dtype)]
    return [n for n in lanes if n < 2 * channels] or lanes[-1:]
