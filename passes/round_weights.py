"""Put other weights and biases in the place of a layer's: those that a calibration rounded.

    Given:   h = conv2d_bias_relu(x)     add(conv2d(x, w), b)
    Result:  h = conv2d_bias_relu(x)     add(conv2d(x, codes * scale), b + shift)

quantize-layers finds the codes again where every output channel uses the largest one: calibration/weights.py has no
error to make smaller then. A layer without a bias keeps none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.errors import PlanError
from tvm_split.passes.bindings import constant, operator
from tvm_split.passes.fold_batch_norm import Layer, layer_of
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.quantize_cut import check_names


@dataclass(frozen=True, eq=False)
class Rounded:
    """A layer's new weights, of the shape and layout of the old ones, and what its bias gets more, one a channel."""

    weights: np.ndarray
    shift: np.ndarray | None = None


@tvm.transform.module_pass(opt_level=0, name="RoundWeights")
@dataclass
class RoundWeights:
    """`rounded`: layer -> its weights and the shift of its bias, which a layer without one does not get.

    PlanError: there is no such layer, it has no constant float32 weights, or others of another shape.
    """

    rounded: Mapping[str, Rounded]

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        calls = {str(callee.attrs[LAYER]): (binding.value.op, callee) for binding, callee in layer_calls(mod)}
        check_names("rounded", "layer", self.rounded, list(calls))
        out = mod.clone()
        for name, rounded in self.rounded.items():
            gvar, callee = calls[name]
            out.update_func(gvar, _replaced(callee, name, rounded))
        return out


def bias_of(function: relax.Function) -> np.ndarray | None:
    """The constant that the layer adds to its convolution's or product's sums, one number for each output channel."""
    items = [item for block in function.body.blocks for item in block.bindings]
    found = [(item.var, weights) for item in items if (weights := _layer_of(item.value)) is not None]
    for item in items:
        for sums, weights in found:
            if operator(item.value) == "relax.add" and item.value.args[0].same_as(sums):
                bias = constant(item.value.args[1])
                if bias is not None and bias.size == weights.weight.shape[weights.kernel_layout.index("O")]:
                    return bias
    return None


def _layer_of(value: relax.Expr) -> Layer | None:
    found = layer_of(value)
    return found if found is not None and found.weight.dtype == np.float32 else None


def _replaced(function: relax.Function, name: str, rounded: Rounded) -> relax.Function:
    bias, sums, blocks = bias_of(function), None, []
    for block in function.body.blocks:
        bindings = []
        for binding in block.bindings:
            value, weights = binding.value, _layer_of(binding.value)
            if weights is not None:
                if weights.weight.shape != rounded.weights.shape:
                    raise PlanError(
                        f"the weights for '{name}' are {rounded.weights.shape}; expected {weights.weight.shape}"
                    )
                sums = binding.var
                new = relax.const(rounded.weights.astype(np.float32))
                value = relax.Call(value.op, [value.args[0], new], value.attrs)
            elif bias is not None and rounded.shift is not None and sums is not None:
                if operator(value) == "relax.add" and value.args[0].same_as(sums):
                    shifted = bias + rounded.shift.reshape(bias.shape)
                    value = relax.Call(value.op, [sums, relax.const(shifted.astype(bias.dtype))], value.attrs)
            if value is not binding.value:
                value = relax.BlockBuilder().normalize(value)
                binding = relax.VarBinding(binding.var, value)
            bindings.append(binding)
        blocks.append(type(block)(bindings))
    if sums is None:
        raise PlanError(f"layer '{name}' has no constant float32 weights to be rounded")
    body = relax.BlockBuilder().normalize(relax.SeqExpr(blocks, function.body.body))
    return relax.Function(function.params, body, function.ret_ty, function.is_pure, function.attrs)
