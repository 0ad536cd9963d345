"""What FoldBatchNorm folds: chains of batch_norm and of multiply, divide, add, subtract with constants.

No pass by itself. Each step computes x * scale + shift with one scale and one shift per channel of one axis, so a
chain whose values nobody else reads is again one such step. Scale and shift are kept in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from tvm_split.passes.bindings import Scope, constant, operator, same_type

BINARY = ("relax.add", "relax.subtract", "relax.multiply", "relax.divide")


@dataclass(frozen=True)
class Chain:
    """root * scale + shift, along `axis` (None: scale and shift have one element and hold for any axis).

    `members` are the variables from the first step to the last, the tuples that batch_norm makes left out. `norm`:
    there is a batch_norm among them. `scales`: there is more than add and subtract.
    """

    root: relax.Expr
    axis: int | None
    scale: np.ndarray
    shift: np.ndarray
    members: tuple[relax.Var, ...]
    norm: bool
    scales: bool


def affine_chain(scope: Scope, var: relax.Var) -> Chain | None:
    """The longest chain that ends in `var`; None where `var` is no such step."""
    chain = _step(scope, var)
    while chain is not None and isinstance(chain.root, relax.Var) and next_step(scope, chain.root) == chain.members[0]:
        step = _step(scope, chain.root)
        if step is None or (step.axis is not None and chain.axis is not None and step.axis != chain.axis):
            break
        chain = Chain(
            step.root,
            chain.axis if step.axis is None else step.axis,
            step.scale * chain.scale,
            step.shift * chain.scale + chain.shift,
            step.members + chain.members,
            step.norm or chain.norm,
            step.scales or chain.scales,
        )
    return chain


def next_step(scope: Scope, var: relax.Var) -> relax.Var | None:
    """The only reader of `var`; for the tuple of a batch_norm, the reader of its first field."""
    readers = scope.readers.get(var, [])
    if len(readers) != 1 or readers[0] is None:
        return None
    reader = readers[0]
    if operator(scope.was(reader)) != "relax.nn.batch_norm":
        return reader
    values = [(r, scope.was(r)) for r in scope.readers.get(reader, [])]
    if not all(isinstance(value, relax.TupleGetItem) for _, value in values):
        return None
    firsts = [r for r, value in values if value.index == 0]
    return firsts[0] if len(firsts) == 1 else None


def whole_chain(scope: Scope, var: relax.Var) -> Chain | None:
    """The whole of the chain that begins, or goes on, with the only reader of `var`."""
    whole, step = None, next_step(scope, var)
    while step is not None:
        chain = affine_chain(scope, step)
        if chain is None or (whole is not None and whole.members[-1] not in chain.members):
            break
        whole, step = chain, next_step(scope, step)
    return whole


def _step(scope: Scope, var: relax.Var) -> Chain | None:
    value = scope.was(var)
    if isinstance(value, relax.TupleGetItem) and value.index == 0:
        norm = scope.was(value.tuple_value)
        return _norm_step(scope, var, norm) if operator(norm) == "relax.nn.batch_norm" else None
    if operator(value) not in BINARY or np.dtype(str(var.ty.dtype)).kind != "f":
        return None
    a, b = value.args
    first = constant(a) is not None
    array, data = (constant(a), b) if first else (constant(b), a)
    if array is None or constant(data) is not None or not same_type(data, var):
        return None
    return _binary_step(var, operator(value), data, array, first)


def _norm_step(scope: Scope, var: relax.Var, call: relax.Call) -> Chain | None:
    arrays = [array.astype("float64") for arg in call.args[1:] if (array := constant(arg)) is not None]
    if call.attrs.training or len(arrays) < 4:
        mode = "is in training mode" if call.attrs.training else "has parameters that are not constant"
        scope.skip(var, f"its batch_norm {mode}")
        return None
    gamma, beta, mean, variance = arrays
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + float(call.attrs.epsilon))
        shift = (beta if call.attrs.center else 0.0) - mean * scale
    if not np.isfinite(scale).all() or not np.isfinite(shift).all():
        scope.skip(var, "its scale gamma / sqrt(variance + epsilon) is not finite")
        return None
    axis = int(call.attrs.axis) % int(call.args[0].ty.ndim)
    return Chain(call.args[0], axis, scale, shift, (var,), norm=True, scales=True)


def _binary_step(var: relax.Var, name: str, data: relax.Expr, array: np.ndarray, first: bool) -> Chain | None:
    rank = int(var.ty.ndim)
    shape = (1,) * (rank - array.ndim) + array.shape
    wide = [axis for axis, size in enumerate(shape) if size != 1]
    if len(wide) > 1 or rank < 1 or not np.isfinite(array).all():
        return None
    array = array.reshape(-1).astype("float64")
    one, zero = np.ones_like(array), np.zeros_like(array)
    if name == "relax.add":
        scale, shift = one, array
    elif name == "relax.subtract":
        scale, shift = (-one, array) if first else (one, -array)
    elif name == "relax.multiply":
        scale, shift = array, zero
    elif first or not array.all():
        return None  # constant / x is no such step, nor is a division by zero
    else:
        scale, shift = one / array, zero
    scales = name in ("relax.multiply", "relax.divide") or bool((scale != 1).any())
    return Chain(data, wide[0] if wide else None, scale, shift, (var,), norm=False, scales=scales)
