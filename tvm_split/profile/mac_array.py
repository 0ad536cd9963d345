"""Seconds of each layer on the two chips of the Auto-Split paper: arrays of multipliers, fed a few channels at a time.

The authors' proof of concept counts, and this does as well, for a convolution or matmul:

    weights      all of them come first, at their width, and nothing overlaps with that
    multiplying  multiplications over the array's multipliers; tensors of b bits take ceil(b / 8) passes
    adding       the array adds up the products of one tile of input channels. Each further tile's sums are added to
                 those before, `sums` of them a cycle: a result of 64 channels, 12 at a time, is added to 5 times
    input        its tensors come at their width, while the array multiplies and adds

    seconds = weights + max(input, multiplying + adding)

Weights and tensors below 8 bits make the traffic less, never the arithmetic. What a layer makes leaves for nothing.
Different from the proof of concept: its cycles do not grow with the kernel's size, so that 3x3 overfills its array;
here the array is always full. Rows of strided convolutions count once (it counts too many), and layers without weights,
which it leaves out, take the time in which they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm_split.costs import Costs
from tvm_split.graph import DTYPE_BITS, Graph, Layer

#: bits that one pass of an array multiplies
PASS_BITS = 8


@dataclass(frozen=True, slots=True)
class MacArray:
    """macs: multipliers. channels: input channels of a tile. sums: partial sums that are added in a cycle."""

    name: str
    macs: int
    clock_hz: float
    memory_bytes_per_s: float
    channels: int
    sums: int


#: the proof of concept's constants; targets/eyeriss.toml and tpu.toml have the same rates
EYERISS = MacArray("eyeriss", 168, 202.3809524e6, 0.9999997648e9, 12, 4)
TPU = MacArray("tpu", 65_536, 1464.84375e6, 13.00000005e9, 128, 256)


def array_costs(graph: Graph, channels: Mapping[str, int], array: MacArray, weight_bits: int, bits: int) -> Costs:
    """Costs of every layer with its weights at `weight_bits` and its float tensors at `bits`; `source` "array".

    channels: layer -> input channels that one output adds up, for each layer that multiplies with weights. Weights are
    taken as float32 in the graph. Integer tensors have their dtype's width, or `bits` if that is less.
    O(layers + reads).
    """
    layer_s = {
        layer.name: _seconds(graph, layer, channels.get(layer.name, 0), array, weight_bits, bits)
        for layer in graph.layers
    }
    provenance = {"graph": graph.name, "macs": array.macs, "clock_hz": array.clock_hz, "bits": bits}
    return Costs(array.name, "array", layer_s, provenance)


def _seconds(graph: Graph, layer: Layer, channels: int, array: MacArray, weight_bits: int, bits: int) -> float:
    read = [graph.tensor[name] for name in dict.fromkeys(layer.inputs)]
    input_s = sum(t.elements * min(bits, DTYPE_BITS[t.dtype]) for t in read) / 8 / array.memory_bytes_per_s
    if not channels:
        return input_s
    weights_s = (layer.weight_bytes - layer.winograd_bytes) / 4 * weight_bits / 8 / array.memory_bytes_per_s
    multiplications = layer.flops / 2  # bias, residual and activation are at most a few of these
    results = sum(graph.tensor[name].elements for name in layer.outputs)
    tiles = -(-channels // array.channels)
    cycles = -(-bits // PASS_BITS) * multiplications / array.macs + results * (tiles - 1) / array.sums
    return weights_s + max(input_s, cycles / array.clock_hz)
