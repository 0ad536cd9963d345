"""How windows slide over channels-last data, axis by axis, and the padding around the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from tvm_split.passes.kernels.widened import Widened

#: annotation of the blocks of our own kernels; its value for padding
KERNEL, PAD = "tvm_split.kernel", "pad"


@dataclass(frozen=True, slots=True)
class Axis:
    """`extent` elements of data, padding `before` and `after` them, and windows of `kernel` taps, `dilation` apart."""

    extent: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def reach(self) -> int:
        """Elements from a window's first to its last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """How many windows there are."""
        return (self.extent + self.before + self.after - self.reach) // self.stride + 1

    def spanned(self, windows: int) -> int:
        """Elements of the padded data under so many windows, which may be more than there are."""
        return (windows - 1) * self.stride + self.reach

    def at(self, window: tirx.Expr, tap: tirx.Expr) -> tirx.Expr:
        """Where the padded data have that tap of that window."""
        return window * self.stride + tap * self.dilation


def axes_of(
    extents: Sequence[int], kernel: Sequence[int], strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int],
) -> list[Axis]:  # fmt: skip
    """The axes of a convolution. `padding` is what is before the data, axis by axis, then what is after them."""
    before, after = padding[: len(extents)], padding[len(extents) :]
    parts = zip(extents, kernel, strides, before, after, dilation, strict=True)
    return [Axis(*(int(number) for number in part)) for part in parts]


def within(index: tirx.Expr, before: int, extent: int, length: int) -> list[tirx.Expr]:
    """Conditions for an index below `length` to be on the data, which has `before` in front of it."""
    first = [index >= before] if before else []
    last = [index < extent + before] if length > before + extent else []
    return first + last


def padded(
    data: te.Tensor | Widened, extents: Sequence[int], before: Sequence[int], value: int = 0, role: str = PAD
) -> te.Tensor:
    """The data with `value` around it, `before` of them first, up to the extents; itself when it covers them.

    What is to be widened is so in the copy, once for all that read it, and so is always copied.

    Both are of the axes after the first; those behind them stay.
    """
    batch, *space = (int(extent) for extent in data.shape)
    rest, space = space[len(extents) :], space[: len(extents)]
    covered = not any(before) and all(wanted <= extent for wanted, extent in zip(extents, space, strict=True))
    if covered and isinstance(data, te.Tensor):
        return data

    def at(n: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        place, others = index[: len(space)], index[len(space) :]
        parts = list(zip(place, before, space, extents, strict=True))
        inside = [condition for part in parts for condition in within(*part)]
        element = data(n, *(i - lead for i, lead, _, _ in parts), *others)
        return tirx.if_then_else(tirx.all(*inside), element, tirx.const(value, data.dtype)) if inside else element

    return te.compute(int64(batch, *extents, *rest), at, name="pad", attrs={KERNEL: role})


def int64(*extents: int) -> tuple[tirx.IntImm, ...]:
    """Extents as FuseTIR wants them."""
    return tuple(tirx.IntImm("int64", int(extent)) for extent in extents)


def dilated(weight: np.ndarray, dilation: Sequence[int]) -> np.ndarray:
    """Weights [K]...[...] with zeros between the taps; themselves where there are none."""
    if all(step == 1 for step in dilation):
        return weight
    kernel, rest = weight.shape[: len(dilation)], weight.shape[len(dilation) :]
    wide = np.zeros((*((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)), *rest), weight.dtype)
    wide[tuple(slice(None, None, step) for step in dilation)] = weight
    return wide
