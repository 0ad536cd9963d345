"""The weights of each layer of a module of layers, and the tensor that they are multiplied with. No pass by itself.

Calibration asks for them: which array to quantise along which axis, and along which axis of which tensor the means of
the channels are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.passes.fold_batch_norm import Layer, layer_of
from tvm_split.passes.layering import layer_calls


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """array: floats in `kernel_layout`, "OIHW" or another order for a convolution, "IO" for a matmul.

    tensor: what the layer multiplies them with, and `in_axis`, the axis of its channels; `out_axis`, that of the
    layer's result. transposed: of a transposed convolution "I" is all inputs and "O" the outputs of one of the groups;
    of the others "O" is all outputs and "I" the inputs of a group.
    """

    array: np.ndarray
    kernel_layout: str
    groups: int
    transposed: bool
    tensor: str
    in_axis: int
    out_axis: int

    @property
    def weight_axis(self) -> int:
        """The axis of `array` that counts output channels."""
        return self.kernel_layout.index("O")


def layer_weights(mod: tvm.IRModule) -> dict[str, LayerWeights]:
    """By layer, in order; layers that multiply with no constant floats, or with what they compute, are left out."""
    names = extract.tensor_names(mod)
    found = {}
    for binding, callee in layer_calls(mod):
        for inner in callee.body.blocks[0].bindings:
            layer = layer_of(inner.value)
            if layer is None or not isinstance(layer.call.args[0], relax.Var):
                continue
            tensor = _tensor(layer, callee, binding.value, names)
            if tensor is not None:
                found[names[binding.var][0]] = LayerWeights(
                    layer.weight, layer.kernel_layout, layer.groups, layer.transposed, tensor, layer.in_axis,
                    layer.out_axis,
                )  # fmt: skip
                break
    return found


def channel_axes(weights: Mapping[str, LayerWeights]) -> dict[str, int]:
    """Axis of the channels of each tensor that the layers read, as `calibration.gather` takes it."""
    return {each.tensor: each.in_axis for each in weights.values()}


def _tensor(
    layer: Layer, callee: relax.Function, call: relax.Call, names: Mapping[relax.Var, tuple[str, ...]]
) -> str | None:
    """The tensor behind the layer's data, when that is one of its function's parameters."""
    for param, argument in zip(callee.params, call.args, strict=True):
        if param.same_as(layer.call.args[0]):
            held = extract.resolve(argument, names)
            return held[0] if held and len(held) == 1 else None
    return None
