"""Integer codes of 2, 3, 4 or 6 bits, stored without gaps, and the stage of a kernel that gives them back.

    codes    [...][S][V] integers from -2^(b-1) to 2^(b-1) - 1
    stored   [...][S * b / 8, rounded up][V] uint8: lane v holds its S codes, each plus 2^(b-1), as one run of bits,
             the first in the lowest bits of the first byte
    decoded  the codes again, in whatever shape the kernel reads them

So V neighbours are decoded by the same shifts and masks of whole vectors of bytes. After GROUP codes a lane begins a
new byte; schedules write out a loop over so many, which makes all shifts constant. A schedule (schedule/decode.py)
finds the stage by its annotation and makes it where little of it is needed at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.window import KERNEL, int64

#: value of KERNEL; annotations: bits of a code, and codes that one step of the sums reads
DECODE, BITS, STEP = "decode", "tvm_split.bits", "tvm_split.step"
#: widths that are stored; other codes stay int8
WIDTHS = (2, 3, 4, 6)
#: codes that are decoded for the steps that read them next: TVM keeps so many bytes on the stack
AT_ONCE = 1023
#: lanes where no vector fits
MIN_VECTOR = 4


def width_of(codes: np.ndarray) -> int:
    """Bits of the least of WIDTHS that holds all the codes; 8 when none does."""
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    return next((bits for bits in WIDTHS if -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1)), 8)


def group_of(bits: int) -> int:
    """Codes of a lane that fill whole bytes."""
    return 8 // gcd(8, bits)


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Integers [...][S][V] -> uint8 [...][S * bits / 8, rounded up][V]. ValueError for a code of more bits."""
    if width_of(codes) > bits:
        raise ValueError(f"codes from {codes.min()} to {codes.max()} do not fit {bits} bits")
    *leading, count, lanes = codes.shape
    raised = (codes.astype("int64") + 2 ** (bits - 1)).astype("uint8")
    split = (raised[..., np.newaxis, :] >> np.arange(bits, dtype="uint8")[:, np.newaxis]) & 1
    return np.packbits(split.reshape(*leading, count * bits, lanes), axis=-2, bitorder="little")


def code_at(byte: Callable[[tirx.Expr], tirx.Expr], place: tirx.Expr, bits: int, dtype: str = "int8") -> tirx.Expr:
    """The code at `place` of a lane whose bytes are `byte(0)`, `byte(1)`, ..."""
    first, shift = te.indexdiv(place * bits, 8), te.indexmod(place * bits, 8)
    value = byte(first) >> shift.astype("uint8")
    if 8 % bits:  # some lie in two bytes
        above = byte(first + 1) << (8 - shift).astype("uint8")
        value = value | tirx.if_then_else(shift + bits > 8, above, tirx.const(0, "uint8"))
    return (value & tirx.const(2**bits - 1, "uint8")).astype(dtype) - tirx.const(2 ** (bits - 1), dtype)


@dataclass(frozen=True)
class Stored:
    """Weights as a kernel's argument, `array`, and what makes of that the tensor that it computes with."""

    array: np.ndarray
    weights: Callable[[te.Tensor], te.Tensor]


def stored(packed: np.ndarray, dims: int, vector_bytes: int, *, once: bool = False) -> Stored:
    """Packed weights [tiles]...[steps][...] of integers, at the width of their range; as they are where that is 8 bits.

    dims: the last dimensions, which are read in one step of the sums. once: steps decode what they read. Vectors are
    at most `vector_bytes` long.
    """
    bits = width_of(packed)
    if bits == 8:
        return Stored(packed, lambda w: w)
    tiles, shape, dtype = packed.shape[0], packed.shape, str(packed.dtype)
    step = prod(shape[-dims:])
    lanes = lanes_of(step, shape[-dims - 1], bits, vector_bytes, AT_ONCE if once else None)
    codes = packed.reshape(tiles, -1)
    filled = np.pad(codes, ((0, 0), (0, -codes.shape[1] % lanes)))
    array = pack_codes(filled.reshape(tiles, -1, lanes), bits)
    return Stored(array, lambda w: decoded(w, shape, bits, step, dtype))


def lanes_of(step: int, steps: int, bits: int, vector_bytes: int, most: int | None = None) -> int:
    """The longest vector that divides a step, with which `steps` are whole groups; where there is none, MIN_VECTOR.

    Those whose groups of whole steps have at most `most` codes are preferred.
    """
    lengths = [2**power for power in range(vector_bytes.bit_length() - 1, 1, -1) if step % 2**power == 0]
    fitting = [n for n in lengths if steps % steps_of_group(step, n, bits) == 0]
    short = [n for n in fitting if most is None or step * steps_of_group(step, n, bits) <= most]
    return next(iter(short or fitting), MIN_VECTOR)


def steps_of_group(step: int, lanes: int, bits: int) -> int:
    """The fewest steps that are whole groups of vectors."""
    return group_of(bits) // gcd(group_of(bits), step // lanes)


def decoded(data: te.Tensor, shape: Sequence[int], bits: int, step: int, dtype: str = "int8") -> te.Tensor:
    """Codes [tiles][...] of stored bytes [tiles][rows][lanes]; `step` elements of them are read at a time."""
    lanes = int(data.shape[-1])

    def code(tile: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        place: tirx.Expr = tirx.IntImm("int64", 0)
        for extent, i in zip(shape[1:], index, strict=True):
            place = place * extent + i
        lane = te.indexmod(place, lanes)
        return code_at(lambda row: data[tile, row, lane], te.indexdiv(place, lanes), bits, dtype)

    attrs = {KERNEL: DECODE, BITS: tirx.IntImm("int32", bits), STEP: tirx.IntImm("int32", step)}
    return te.compute(int64(*shape), code, name="decode", attrs=attrs)


def decoded_taps(data: te.Tensor, kernel: Sequence[int], bits: int, dtype: str) -> te.Tensor:
    """Codes [KH][KW][C] of stored bytes [rows][C]: a lane is a channel, and its codes are the window's."""
    channels, across = int(data.shape[-1]), int(kernel[1])

    def code(row: tirx.Var, column: tirx.Var, channel: tirx.Var) -> tirx.Expr:
        return code_at(lambda at: data[at, channel], row * across + column, bits, dtype)

    return te.compute(int64(*kernel, channels), code, name="decode", attrs={KERNEL: DECODE})
