"""Weights that kernels read as float32 and that are stored narrower: each vector is widened where it is multiplied.

    stored   float16; its bits as uint16, for processors without an instruction that widens it; or int8 with scales
    scale    [tiles][T], T output channels to a tile; or [C] where channels are not in tiles
    read     float32: the float16 itself, code * scale; exact, so the bits are those of float32 weights of that value

Nothing of this is in memory but what is stored: `Widened` stands for a tensor in the expression that reads it.
"""

from __future__ import annotations

from tvm import te, tirx

#: what the float32 whose exponent is a float16's must be multiplied with: their exponents are biased by 127 and 15
REBIAS = 2.0 ** (127 - 15)


class Widened:
    """A tensor of float32 to read from, as a kernel reads its weights: `shape`, and an element by its index."""

    dtype = "float32"

    def __init__(self, stored: te.Tensor, scale: te.Tensor | None = None) -> None:
        self.stored, self.scale, self.shape = stored, scale, stored.shape

    def __call__(self, *index: tirx.Expr) -> tirx.Expr:
        if str(self.stored.dtype) == "uint16":
            return of_bits(self.stored(*index))
        value = self.stored(*index).astype("float32")
        if self.scale is None:
            return value
        return value * (self.scale(index[-1]) if len(self.scale.shape) == 1 else self.scale(index[0], index[-1]))

    def __getitem__(self, index: tuple[tirx.Expr, ...]) -> tirx.Expr:
        return self(*index)


def widened(data: te.Tensor, stored: te.Tensor, scale: te.Tensor | None = None) -> te.Tensor | Widened:
    """What a kernel of those data reads for its weights: themselves, where they are of the data's type."""
    return stored if stored.dtype == data.dtype else Widened(stored, scale)


def of_bits(value: tirx.Expr) -> tirx.Expr:
    """The float32 of a finite float16, given by its bits; exact, that of a subnormal number too."""
    wide = value.astype("uint32")
    sign, rest = wide & tirx.const(0x8000, "uint32"), wide & tirx.const(0x7FFF, "uint32")
    moved = (sign << tirx.const(16, "uint32")) | (rest << tirx.const(13, "uint32"))
    return tirx.reinterpret("float32", moved) * tirx.const(REBIAS, "float32")
