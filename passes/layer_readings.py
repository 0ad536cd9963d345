"""Which tensor the weights of each layer are multiplied with, and which of its values each weight meets.

No pass by itself. W times `columns` is what the convolution or matrix product computes, at some of its places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm

from tvm_split import extract
from tvm_split.passes.bindings import operator
from tvm_split.passes.fold_batch_norm import Layer, layer_of
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.round_weights import bias_of


@dataclass(frozen=True, eq=False)
class Reading:
    """A layer with weights, the tensor that they are multiplied with, and whether a constant bias is added."""

    layer: Layer
    data: str
    biased: bool

    @property
    def width(self) -> int:
        """K: weights of one output."""
        return int(self.layer.weight.size // self.layer.weight.shape[self.layer.kernel_layout.index("O")])

    def rows(self) -> np.ndarray:
        """The weights as (G groups, O outputs of a group, K), float32."""
        blocks = self.layer.blocks()
        return np.asarray(blocks.reshape(*blocks.shape[:2], -1), np.float32)

    def from_rows(self, rows: np.ndarray) -> np.ndarray:
        """The inverse of `rows`."""
        return self.layer.from_blocks(rows.reshape(self.layer.blocks().shape))

    def columns(self, array: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
        """What the weights of each group meet, (G, count, K) float32, at no more than `most` places, drawn at random.

        array: a value of the tensor `data`. The order of K is that of `rows`.
        """
        if operator(self.layer.call) == "relax.matmul":
            vectors = array.reshape(-1, array.shape[-1])
            return np.ascontiguousarray(vectors[_some(len(vectors), most, random)][np.newaxis], np.float32)
        view = windows(self.layer, array)
        count = (len(view), *view.shape[2 : 2 + (view.ndim - 2) // 2])
        places = np.unravel_index(_some(int(np.prod(count)), most, random), count)
        index: tuple[object, ...] = (places[0], slice(None), *places[1:])
        chosen = view[index].reshape(len(places[0]), self.layer.groups, -1)  # type: ignore[index]
        return np.ascontiguousarray(chosen.swapaxes(0, 1), np.float32)


def readings(mod: tvm.IRModule) -> dict[str, Reading]:
    """By the layer's name, in order: each float32 convolution, not transposed, or matmul that reads a tensor itself."""
    names, found = extract.tensor_names(mod), {}
    for binding, callee in layer_calls(mod):
        given = dict(zip(callee.params, binding.value.args, strict=True))
        for item in (item for block in callee.body.blocks for item in block.bindings):
            layer = layer_of(item.value)
            if layer is None or layer.transposed or layer.weight.dtype != np.float32 or layer.call.args[0] not in given:
                continue
            (data,) = extract.resolve(given[layer.call.args[0]], names) or ("",)
            found[str(callee.attrs[LAYER])] = Reading(layer, data, bias_of(callee) is not None)
    return found


def windows(layer: Layer, array: np.ndarray) -> np.ndarray:
    """A view of a convolution's padded data: (N, C, each place, each weight of a channel)."""
    attrs, kernel_layout = layer.call.attrs, layer.kernel_layout
    data_layout, rank = str(attrs.data_layout), len(kernel_layout) - 2
    letters = [letter for letter in kernel_layout if letter not in "OI"]
    at = [[letter for letter in data_layout if letter not in "NC"].index(letter) for letter in letters]
    moved = array.transpose([data_layout.index(letter) for letter in ("N", "C", *letters)])
    padding = [(int(attrs.padding[i]), int(attrs.padding[rank + i])) for i in at]
    padded = np.pad(moved, [(0, 0), (0, 0), *padding]) if any(map(any, padding)) else moved
    strides, dilation = ([int(steps[i]) for i in at] for steps in (attrs.strides, attrs.dilation))
    sizes = [layer.weight.shape[kernel_layout.index(letter)] for letter in letters]
    reach = tuple((size - 1) * step + 1 for size, step in zip(sizes, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, tuple(range(2, padded.ndim)))
    every = slice(None)
    return view[(every, every, *(slice(None, None, step) for step in (*strides, *dilation)))]


def _some(count: int, most: int, random: np.random.Generator) -> np.ndarray:
    return np.arange(count) if count <= most else np.sort(random.choice(count, most, replace=False))
