"""The weights of each layer that has any: of its convolution or matrix product, with the axis of the output channels.

No pass by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.bindings import constant, operator
from tvm_split.passes.fuse_activation import ANCHORS
from tvm_split.passes.layering import LAYER, layer_calls


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's float32 weights; `axis` is that of the output channels. `layout` as Relax has it, "IO" of a matmul."""

    array: np.ndarray
    axis: int
    layout: str
    groups: int


def layer_weights(mod: tvm.IRModule) -> dict[str, Weights]:
    """By the layer's name, in order; a layer without constant float32 weights has none."""
    found = {}
    for _, callee in layer_calls(mod):
        for block in callee.body.blocks:
            for item in block.bindings:
                weights = weights_of(item.value)
                if weights is not None:
                    found[str(callee.attrs[LAYER])] = weights
    return found


def weights_of(value: relax.Expr) -> Weights | None:
    """The weights of a convolution or matrix product; None of anything else."""
    name = operator(value)
    array = constant(value.args[1]) if name in ANCHORS else None
    if array is None or array.dtype != np.float32:
        return None
    if name == "relax.matmul":
        layout = "IO" if array.ndim == 2 else ""
        return Weights(array, array.ndim - 1, layout, 1)
    layout = str(value.attrs.kernel_layout)
    return Weights(array, layout.index("O"), layout, int(value.attrs.groups))
