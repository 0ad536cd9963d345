"""What pack-weights makes of weights that are stored narrower than they are computed with; see kernels/widened.py.

Given:   packed float32 [tiles]...[T], whose values float16 holds, or codes times the scale of their channel
Result:  [float16, or uint16 of the same bits];  [int8, scale [tiles][T]]
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax, te
from tvm.target import codegen

from tvm_split.passes.bindings import constant, operator
from tvm_split.passes.kernels.widened import Widened
from tvm_split.passes.stored_weights import StoredWeights, is_widening, stored_weights

#: what a variable is bound to, None for a parameter
LookUp = Callable[[relax.Var], relax.Expr | None]


def widens_halves(target: tvm.target.Target) -> bool:
    """Whether the target has an instruction that makes a vector of float32 of float16."""
    return bool(target.features.is_aarch64) or bool(codegen.target_has_features("f16c", target))


def stored_parts(packed: np.ndarray, stored: StoredWeights | None, tiled: bool | None, bits: bool) -> list[np.ndarray]:
    """The constants for packed weights; float32 as they are where nothing narrower is stored.

    tiled: whether output channels are in tiles, the first and the last axis, or the last axis alone; None where they
    are in neither, so that scales have no place. bits: whether float16 is given as uint16.
    """
    if stored is None:
        return [packed]
    scale = stored.scale
    if scale is None:
        halves = packed.astype("float16")
        return [halves.view("uint16") if bits else halves]
    if tiled is None or stored.axis != stored.codes.ndim - 1:
        return [packed]
    if tiled:
        filled = np.ones(packed.shape[0] * packed.shape[-1], "float32")
        filled[: scale.size] = scale
        scale = filled.reshape(packed.shape[0], *[1] * (packed.ndim - 2), packed.shape[-1])
    codes = np.rint(packed / scale).astype("int8")
    return [codes, scale.reshape(packed.shape[0], -1) if tiled else scale]


def weights_of(look_up: LookUp, expr: relax.Expr) -> tuple[np.ndarray | None, StoredWeights | None]:
    """The array of a constant, or of one behind a permute_dims; float32 of one stored narrower, and how that is."""
    bound = look_up(expr) if isinstance(expr, relax.Var) else expr
    if bound is None:
        return None, None
    if operator(bound) == "relax.permute_dims":
        array, stored = weights_of(look_up, bound.args[0])
        if array is None:
            return None, None
        axes = [int(axis) for axis in bound.attrs.axes or reversed(range(array.ndim))]
        return array.transpose(axes), stored.transpose(axes) if stored else None
    stored = stored_weights(bound)
    return (constant(bound), None) if stored is None else (stored.reals(), stored)


def held_as_half(look_up: LookUp, data: relax.Expr) -> relax.Expr | None:
    """The float16 tensor that the data are widened from; None where they are not."""
    bound = look_up(data) if isinstance(data, relax.Var) else None
    return bound.args[0] if bound is not None and is_widening(bound) else None


def widening(kernel: Callable[..., te.Tensor]) -> Callable[..., te.Tensor]:
    """The kernel, of data that are float16."""

    def of_halves(data: te.Tensor, *others: te.Tensor) -> te.Tensor:
        return kernel(Widened(data), *others)

    return of_halves
