"""Fold batch normalisation, and the multiply and add per channel that it is, into the weights beside it.

    Given:   c = conv2d(x, w);  b = add(c, bias);  n = batch_norm(b, gamma, beta, mean, var);  y = n[0]
    Result:  c = conv2d(x, w * s);  y = add(c, (bias - mean) * s + beta)          s = gamma / sqrt(var + epsilon)

and, before a layer, conv2d(batch_norm(x)[0], w) -> add(conv2d(x, w * s), sum of w * shift). The layer is a
convolution or transposed convolution of one to three dimensions, grouped or not, in any plain layout (NHWC too), or a
matmul with a constant matrix; nobody else may read what lies between. Before a layer that pads (or is transposed) a
shift is not the same everywhere, so there only a batch_norm without shift is folded. Every other batch_norm in
inference mode becomes a multiply and an add. A chain of such steps counts as one. Multiply and divide by a constant
per channel, without batch_norm, are folded likewise, but stay as they are where no layer takes them. A batch_norm in
training mode or with parameters that are not constant stays.

Accuracy: weights and bias are computed in float64 and rounded once. With u = 2^-24 (float32), n products per output
element, and A = |s| (|w| * |x| + |bias| + |mean|) + |beta| (`*` is the layer; before a layer, A = |w| * (|s| (|x| +
|mean|) + |beta|)): to first order the layer's sum is off by at most n u A, weights and bias rounded once by u A each,
batch_norm's six operations by 6 u A. Both modules together: |new - old| <= 2 (n + 8) u A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.affine import Chain, affine_chain, next_step, whole_chain
from tvm_split.passes.bindings import Scope, constant, operator, rewrite

CONVOLUTIONS = {f"relax.nn.conv{n}d" for n in (1, 2, 3)}
TRANSPOSED = {f"relax.nn.conv{n}d_transpose" for n in (1, 2, 3)}


@tvm.transform.module_pass(opt_level=0, name="FoldBatchNorm")
@dataclass(frozen=True)
class FoldBatchNorm:
    """Leave no inference batch_norm: into weights, else a multiply and an add; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, "FoldBatchNorm", _visit, "inference batch_norm, or constant scale beside a layer,")


@dataclass(frozen=True)
class Layer:
    """A convolution or matmul whose weights are constant; axes of data and result that hold the channels."""

    call: relax.Call
    weight: np.ndarray
    kernel_layout: str
    groups: int
    in_axis: int
    out_axis: int

    @property
    def transposed(self) -> bool:
        return operator(self.call) in TRANSPOSED

    def blocks(self) -> np.ndarray:
        """The weights in float64 as (groups, outputs of a group, inputs of a group, the rest)."""
        o, i = self.kernel_layout.index("O"), self.kernel_layout.index("I")
        array = np.moveaxis(self.weight, (o, i), (0, 1)).astype("float64")
        rows, columns = array.shape[:2]
        if self.transposed:
            return array.reshape(rows, self.groups, columns // self.groups, -1).swapaxes(0, 1)
        return array.reshape(self.groups, rows // self.groups, columns, -1)

    def from_blocks(self, blocks: np.ndarray) -> np.ndarray:
        """The inverse of `blocks`, rounded to the weights' type."""
        o, i = self.kernel_layout.index("O"), self.kernel_layout.index("I")
        array = blocks.swapaxes(0, 1) if self.transposed else blocks
        moved = np.moveaxis(self.weight, (o, i), (0, 1)).shape
        rounded = array.reshape(moved).astype(self.weight.dtype)
        return np.ascontiguousarray(np.moveaxis(rounded, (0, 1), (o, i)))

    def holds(self, before: Chain | None, after: Chain | None) -> bool:
        """Whether the folded weights and bias fit their type, whatever weight meets whatever scale."""
        largest = float(np.abs(self.weight).max(initial=0))
        scale, bias = largest, 0.0
        if before is not None:
            terms = self.weight.size // self.weight.shape[self.kernel_layout.index("O")]
            scale, bias = scale * _peak(before.scale), terms * largest * _peak(before.shift)
        if after is not None:
            scale, bias = scale * _peak(after.scale), bias * _peak(after.scale) + _peak(after.shift)
        return max(scale, bias) <= float(np.finfo(self.weight.dtype).max)

    def spreads_shift(self) -> bool:
        """Whether a constant added to the input reaches every output element alike."""
        if operator(self.call) == "relax.matmul":
            return True
        attrs = self.call.attrs
        if any(int(p) for p in attrs.padding):
            return False
        if not self.transposed:
            return True
        kernel = [size for size, axis in zip(self.weight.shape, self.kernel_layout, strict=True) if axis not in "OI"]
        return all(int(v) == 1 for v in (*kernel, *attrs.strides)) and not any(int(p) for p in attrs.output_padding)


def _peak(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0))


def layer_of(value: relax.Expr) -> Layer | None:
    """The convolution or matmul with constant weights that the value is."""
    name = operator(value)
    weight = constant(value.args[1]) if name in {"relax.matmul", *CONVOLUTIONS, *TRANSPOSED} else None
    if weight is None or weight.dtype.kind != "f" or str(weight.dtype) != str(value.ty.dtype):
        return None
    if name == "relax.matmul":
        rank = int(value.args[0].ty.ndim)
        return Layer(value, weight, "IO", 1, rank - 1, rank - 1) if weight.ndim == 2 and rank >= 2 else None
    attrs = value.attrs
    data, kernel, out = str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout or attrs.data_layout)
    if not (data + kernel + out).isupper():
        return None
    return Layer(value, weight, kernel, int(attrs.groups), data.index("C"), out.index("C"))


def _visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    var, value = binding.var, binding.value
    if isinstance(value, relax.TupleGetItem) and value.index in (1, 2):
        norm = scope.was(value.tuple_value)
        if operator(norm) == "relax.nn.batch_norm" and not norm.attrs.training:
            return norm.args[2 + value.index]  # inference passes the running mean and variance through
        return None
    chain = affine_chain(scope, var)
    if chain is not None:
        whole = whole_chain(scope, var)
        if whole is not None and var in whole.members:
            return None
        if (after := _after(scope, var, chain)) is not None:
            return _folded(scope, var, *after, chain, chain.root.name)
        return _decompose(scope, var, chain) if chain.norm and _taken_by(scope, var) is None else None
    layer, before, following = layer_of(value), _before(scope, var), whole_chain(scope, var)
    if layer is None or before is None:
        return None
    if following is not None and _after(scope, following.members[-1], following) is not None:
        return None
    return _folded(scope, var, layer, before, None, f"{var.name}_unbiased")


def _after(scope: Scope, var: relax.Var, chain: Chain) -> tuple[Layer, Chain | None] | None:
    """The layer at the chain's root if it can take the chain, and what it takes from before."""
    layer = layer_of(scope.was(chain.root))
    if layer is None or next_step(scope, chain.root) != chain.members[0]:
        return None
    before = _before(scope, chain.root)
    if not chain.scales and before is None:
        return None
    if chain.axis not in (None, layer.out_axis):
        scope.skip(var, f"it scales axis {chain.axis}, the layer's channels are axis {layer.out_axis}")
        return None
    if not layer.holds(before, chain):
        scope.skip(var, f"the folded weights may overflow {layer.weight.dtype}")
        return None
    return layer, before


def _before(scope: Scope, var: relax.Var) -> Chain | None:
    """The chain that ends in the data of the layer `var`, if the layer can take it."""
    layer = layer_of(scope.was(var))
    if layer is None or not isinstance(layer.call.args[0], relax.Var):
        return None
    data = layer.call.args[0]
    chain = affine_chain(scope, data)
    if chain is None or not chain.scales or scope.readers.get(data) != [var]:
        return None
    if chain.axis not in (None, layer.in_axis) or _after(scope, data, chain) is not None:
        return None
    if chain.shift.any() and not layer.spreads_shift():
        scope.skip(data, f"its shift is not the same everywhere after '{var.name}', which pads or is transposed")
        return None
    return chain if layer.holds(chain, None) else None


def _taken_by(scope: Scope, var: relax.Var) -> relax.Var | None:
    """The layer that takes the chain which ends in `var`."""
    readers = scope.readers.get(var, [])
    reader = readers[0] if len(readers) == 1 else None
    return reader if reader is not None and _before(scope, reader) is not None else None


def _folded(
    scope: Scope, var: relax.Var, layer: Layer, before: Chain | None, after: Chain | None, name: str
) -> relax.Expr:
    """The layer with both chains in its weights, and an add where there is a bias."""
    blocks = layer.blocks()
    groups, rows, columns = blocks.shape[:3]
    bias = np.zeros(groups * rows)
    if before is not None:
        shift = np.broadcast_to(before.shift, (groups * columns,)).reshape(groups, 1, columns, 1)
        bias = (blocks * shift).sum(axis=(2, 3)).reshape(-1)
        blocks = blocks * np.broadcast_to(before.scale, (groups * columns,)).reshape(groups, 1, columns, 1)
    if after is not None:
        scale = np.broadcast_to(after.scale, bias.shape)
        bias = bias * scale + after.shift
        blocks = blocks * scale.reshape(groups, rows, 1, 1)
    data = before.root if before is not None else layer.call.args[0]
    dtype = str(layer.weight.dtype)
    call = relax.Call(layer.call.op, [data, relax.const(layer.from_blocks(blocks), dtype)], layer.call.attrs)
    if not bias.any():
        return call
    shape = [1] * int(var.ty.ndim)
    shape[layer.out_axis] = bias.size
    bias = bias if operator(layer.call) == "relax.matmul" else bias.reshape(shape)
    return relax.op.add(scope.emit(call, name), relax.const(bias.astype(dtype), dtype))


def _decompose(scope: Scope, var: relax.Var, chain: Chain) -> relax.Expr | None:
    """One multiply and one add, or less."""
    dtype, shape = str(var.ty.dtype), [1] * int(var.ty.ndim)
    if chain.axis is not None:
        shape[chain.axis] = -1
    scale, shift = (array.reshape(shape).astype(dtype) for array in (chain.scale, chain.shift))
    if not np.isfinite(scale).all() or not np.isfinite(shift).all():
        scope.skip(var, f"its scale or shift overflows {dtype}")
        return None
    result = chain.root
    if (scale != 1).any():
        result = relax.op.multiply(result, relax.const(scale, dtype))
    if shift.any():
        scaled = scope.emit(result, f"{var.name}_scaled") if result is not chain.root else result
        result = relax.op.add(scaled, relax.const(shift, dtype))
    return result
