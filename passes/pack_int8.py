"""Packed kernels of uint8 data and constant int8 weights, for pack_weights.py: what to compute with which arrays.

With a dot product instruction (schedule/dot.py) the kernels are conv2d_dot.py and matmul_dot.py, else the plain ones.
All are exact, so they compute the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import te

from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.conv2d_dot import conv2d_dot, joins, pack_conv2d_dot
from tvm_split.passes.kernels.matmul import matmul_packed, pack_matmul
from tvm_split.passes.kernels.matmul_dot import matmul_dot, pack_matmul_dot
from tvm_split.passes.kernels.stored import stored
from tvm_split.passes.kernels.window import axes_of
from tvm_split.passes.schedule.dot import Dot
from tvm_split.passes.schedule.dot_kinds import dot_of
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tiles import MIN_LANES, Tile, tile_time, tiles_of

SUM = "int32"


@dataclass(frozen=True)
class Kernel:
    """`compute(data, *constants)` is the result; the constants are packed weights."""

    name: str
    compute: Callable[..., te.Tensor]
    constants: tuple[np.ndarray, ...]


def conv2d_int8(
    weight: np.ndarray, target: tvm.target.Target, row: int, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int, pad_value: int,
) -> Kernel:  # fmt: skip
    """Of HWIO weights, for results with rows of `row` pixels. `padding` is top, left, bottom, right."""
    dot = _dot(target, weight.shape[-1], strides[1])
    machine = _machine(target, dot)
    merged = _groups_to_merge(weight.shape[2], weight.shape[3], groups, machine.lanes(SUM), dot.terms if dot else 1)
    weight, groups = _merged(weight, groups, merged), groups // merged
    height, width, inner, channels = weight.shape
    join = dot is not None and joins(dot, width, inner, dilation[1], groups)
    run, windows = (width * inner, height) if join else (inner, height * width)
    if dot and dot.single and join:
        dot = dot.single
    dot, tile = _tiled(target, dot, row, channels // groups, lambda terms: windows * -(-run // terms), exact=groups > 1)
    if dot is None:
        kept = stored(pack_conv2d(weight, tile.channels), 1, machine.vector_bytes)
        return Kernel(
            "conv2d",
            lambda x, w: conv2d_packed(
                x, kept.weights(w), channels, tile, strides, padding, dilation, groups, pad_value
            ),
            (kept.array,),
        )  # fmt: skip
    kind, kept = dot, stored(pack_conv2d_dot(weight, tile.channels, dot, join), 2, machine.vector_bytes)

    def compute(x: te.Tensor, w: te.Tensor, missing: te.Tensor | None = None) -> te.Tensor:
        space = [int(extent) for extent in x.shape[1:3]]
        window = axes_of(space, (height, width), strides, padding, dilation)
        return conv2d_dot(x, kept.weights(w), missing, channels, tile, kind, window, groups, pad_value)

    return Kernel("conv2d", compute, (kept.array, *_missing(weight, kind)))


def matmul_int8(weight: np.ndarray, target: tvm.target.Target, rows: int) -> Kernel:
    """Of weights [K][N], for `rows` rows of data."""
    dot, (terms, channels) = _dot(target, weight.shape[-1]), weight.shape
    dot, tile = _tiled(target, dot, rows, channels, lambda each: -(-terms // each), copies=True)
    vector_bytes, once = machine_of(target).vector_bytes, rows <= tile.pixels
    if dot is None:
        kept = stored(pack_matmul(weight, tile.channels), 1, vector_bytes, once=once)
        return Kernel("matmul", lambda x, w: matmul_packed(x, kept.weights(w), channels, tile), (kept.array,))
    kind, kept = dot, stored(pack_matmul_dot(weight, tile.channels, dot), 2, vector_bytes, once=once)

    def compute(x: te.Tensor, w: te.Tensor, missing: te.Tensor | None = None) -> te.Tensor:
        return matmul_dot(x, kept.weights(w), missing, channels, tile, kind)

    return Kernel("matmul", compute, (kept.array, *_missing(weight, kind)))


def _dot(target: tvm.target.Target, channels: int, stride_w: int = 1) -> Dot | None:
    """The instruction; none for a single output channel, of which there is no vector."""
    dot = dot_of(target) if channels > 1 else None
    return dot.single if dot and dot.pixels > 1 and stride_w > 1 else dot


def _machine(target: tvm.target.Target, dot: Dot | None) -> Machine:
    """The target's, less the registers that the instruction takes."""
    machine = machine_of(target)
    return replace(machine, registers=machine.registers - dot.scratch, products=0) if dot else machine


def _tiled(
    target: tvm.target.Target, dot: Dot | None, row: int, channels: int, steps: Callable[[int], int], **how: bool
) -> tuple[Dot | None, Tile]:
    """The tile of least time, and with which kind, `dot` or its `single`: a call's pixels divide those of the tile.

    `steps(terms)` is how many calls of so many terms there are for a sum; `how` is for `tiles_of`.
    """
    found: list[tuple[float, Dot | None, Tile]] = []
    for kind in (dot, dot.single) if dot and dot.single else (dot,):
        machine, terms = _machine(target, kind), steps(kind.terms if kind else 1)
        tiles = tiles_of(machine, row, channels, terms, SUM, **how)
        tile = next((tile for tile in tiles if tile.pixels % (kind.pixels if kind else 1) == 0), None)
        if tile is not None:
            across = -(-row // tile.pixels)
            time = across * -(-channels // tile.channels) * tile_time(machine, tile, terms, SUM, across)
            found.append((time, kind, tile))
    _, kind, tile = min(found, key=lambda each: each[0])
    return kind, tile


def _missing(weight: np.ndarray, dot: Dot) -> tuple[np.ndarray, ...]:
    """What the instruction leaves out of each channel's sum."""
    if not dot.shift:
        return ()
    return (dot.shift * weight.sum(axis=tuple(range(weight.ndim - 1)), dtype="int32"),)


def _groups_to_merge(inner: int, channels: int, groups: int, lanes: int, terms: int) -> int:
    """How many groups to compute as one with zeros between them, so that they fill vectors: fewest calls win.

    `inner`: input channels of a group; `channels`: output channels of all. With all of them merged there is none.
    """
    outer = channels // groups
    options = [n for n in range(1, groups + 1) if groups % n == 0 and (n == groups or n * outer % MIN_LANES == 0)]
    return min(options, key=lambda n: (groups // n * -(-n * outer // lanes) * -(-n * inner // terms), -n))


def _merged(weight: np.ndarray, groups: int, merged: int) -> np.ndarray:
    """HWIO weights of groups // merged groups, `merged` of the former in each."""
    height, width, inner, channels = weight.shape
    wide = np.zeros((height, width, merged, inner, groups, channels // groups), weight.dtype)
    each = weight.reshape(height, width, inner, groups, -1)
    for group in range(groups):
        wide[:, :, group % merged, :, group] = each[:, :, :, group]
    return wide.reshape(height, width, merged * inner, channels)
