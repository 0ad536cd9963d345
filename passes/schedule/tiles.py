"""Register tiles of packed kernels: how many pixels by how many output channels a core holds in registers at a time."""

from __future__ import annotations

from dataclasses import dataclass

import tvm

from tvm_split.passes.schedule.machine import Machine

# Times are in multiply-adds of a whole vector. They are rough: only their order decides.
#: multiply-adds that must be under way to hide their latency: 4 cycles, two a cycle
IN_FLIGHT = 8
#: to read a vector of weights, from the second cache, and a value of a pixel for all lanes, from the first
WEIGHTS, VALUE = 0.6, 0.33
#: to copy a vector of pixels
COPY = 3.0
#: to begin a tile; to set one of its registers to zero and to write it
BEGIN, WRITE = 20.0, 5.0

#: TVM keeps a buffer of fewer bytes on the stack; it asks the run time for a larger one, at every task
STACK_BYTES = 1024
#: bounds of the code that is unrolled
MAX_VECTORS, MAX_PIXELS = 8, 28
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
    """The tile with the least estimated time for rows of `row` pixels and sums of `terms` products.

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
        if pixels * vectors + vectors + 1 <= machine.registers
        and pixels * vectors * lanes * item_bytes < STACK_BYTES
        and not (exact and channels % (vectors * lanes))
    ]
    if not tiles:
        raise ValueError(f"no vector of {MIN_LANES} lanes or more divides {channels} output channels")
    whole = machine.lanes(dtype)

    def row_time(tile: Tile) -> float:
        copy = COPY * row * terms / whole if copies and row % tile.pixels else 0.0
        return -(-channels // tile.channels) * (-(-row // tile.pixels) * tile_time(machine, tile, terms, dtype) + copy)

    return min(tiles, key=row_time)


def tile_time(machine: Machine, tile: Tile, terms: int, dtype: str) -> float:
    """Time of one tile of sums of `terms` products."""
    held = tile.pixels * tile.vectors
    unit = 1.0 if tile.lanes == machine.lanes(dtype) else machine.half_vector
    step = max(held * unit, IN_FLIGHT) + WEIGHTS * tile.vectors + VALUE * machine.half_vector * tile.pixels
    return BEGIN + terms * step + WRITE * held


def _lanes(machine: Machine, channels: int, dtype: str) -> list[int]:
    """Whole vectors and shorter ones; longer than the channels only when nothing else is there."""
    lanes = [n for n in (64, 32, 16, 8, 4) if n <= machine.lanes(dtype)]
    return [n for n in lanes if n < 2 * channels] or lanes[-1:]
