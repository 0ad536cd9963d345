"""Seconds of each layer from the target's file alone: for planning without the device at hand.

The roofline model (Williams, Waterman, Patterson: "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4), 2009) bounds a kernel by the arithmetic it does and the bytes it moves:

    seconds = max(flops / (peak * efficiency), bytes / bandwidth) + layer overhead

It is a **bound, so optimistic**: it takes arithmetic and memory to overlap wholly, memory to run at the rate in the
target's file, and each byte to move once. `efficiency` corrects the arithmetic alone.

Where efficiency comes from: `tvm-split bench` of whole networks on one AMD EPYC (Zen 4, two threads, 223 GFLOP/s by the
bench's own multiply-add loop), their operations over their time, as a share of that:

    VGG-19 0.87   ResNet-50 0.85   PP-OCR recogniser 0.85   GoogLeNet 0.84   YOLOX 0.80   plate detector 0.78
    EfficientNet-Lite0 0.67   basic-pitch 0.44   AlexNet 0.42 (its weights come from memory)

The median is 0.8, which the x86 files say. Nobody has measured an ARM board: those files say 0.5, an assumption.
Between the kernels of EfficientNet-Lite0 the virtual machine, threads and cold caches took 10 us a layer. Measured
costs replace all this.

Integers: `peak_int8_ops_per_s`. Our kernels' hot loops (docs/arm.md) do eight products of 8 bits in the cycle in which
NEON does four of float32, sixteen with dot products; x86 with VNNI four times those of float32.

How far off (FACTORS): times of layers alone by the clock (measured.py) over those predicted, on one core of an AMD EPYC
(Zen 4) whose data sheet's clock is 2.6 GHz and that ran at about 3.5; EfficientNet-Lite0, the plate detector and the
PP-OCR direction classifier. Between the two quantiles lie 5 to 95 % of all measured time:

    float32, 216 layers   0.33 to 0.99, median 0.59      the three networks whole: 0.58 to 0.68
    8 bits, 173 layers    0.54 to 4.55, median 1.14      depthwise kernels are far from the peak of dot products

An interval takes in both, and single layers may lie outside it: of all layers 64 and 82 % lay within. Only that
processor was timed, so that it goes twice as far for every other target.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm_split.costs import Costs, with_interval
from tvm_split.graph import Graph, Layer
from tvm_split.targets import host
from tvm_split.targets.spec import TargetSpec

#: shares of the predicted time between which 90 % of all measured time lay: "How far off" above
FACTORS = 0.33, 4.5
#: the processor on which they were timed, as this machine, and how much further they go both ways on any other
TIMED, UNTIMED = "AMD EPYC", 2.0
#: bytes of a float32, and of what a quantised layer has in its place
FLOAT_BYTES, CODE_BYTES = 4, 1


def factors_of(target: TargetSpec, timed: tuple[float, float]) -> tuple[float, float]:
    """The least and the most of its predicted time that a layer takes. timed: the same where that was timed."""
    low, high = timed
    there = target.name == host.HOST and host.processor().startswith(TIMED)
    return timed if there else (low / UNTIMED, high * UNTIMED)


def roofline(graph: Graph, target: TargetSpec) -> Costs:
    """Costs of every layer, `source` "roofline". The target's numbers go into the provenance. O(layers + reads).

    Bytes are the layer's weights, each distinct input once and its outputs, at the sizes the graph gives them. All
    arithmetic is priced at the float32 peak. An accelerator's tiling is not modelled.
    """
    return _costs(graph, target, "peak_flops_per_s", target.peak_flops_per_s, moved_bytes)


def integer_roofline(graph: Graph, target: TargetSpec) -> Costs | None:
    """Costs of every layer computed on 8-bit integers, its float weights and tensors a byte an element.

    `efficiency` is that of the float kernels. None when the target's file states no rate of 8-bit integers.
    """
    if target.peak_int8_ops_per_s is None:
        return None
    return _costs(graph, target, "peak_int8_ops_per_s", target.peak_int8_ops_per_s, moved_code_bytes)


def _costs(graph: Graph, target: TargetSpec, rate: str, peak: float, moved: Callable[[Graph, Layer], float]) -> Costs:
    costs = Costs(
        target=target.name,
        source="roofline",
        layer_s={
            layer.name: max(layer.flops / (peak * target.efficiency), memory_s(moved(graph, layer), target))
            + target.layer_overhead_s
            for layer in graph.layers
        },
        provenance={
            "graph": graph.name,
            rate: peak,
            "efficiency": target.efficiency,
            "memory_bandwidth_bytes_per_s": target.memory_bandwidth_bytes_per_s,
            "layer_overhead_s": target.layer_overhead_s,
        },
    )
    return with_interval(costs, factors_of(target, FACTORS))


def memory_s(moved: float, target: TargetSpec) -> float:
    """Seconds to move so many bytes."""
    return moved / target.memory_bandwidth_bytes_per_s


def weight_bytes(layer: Layer) -> int:
    return layer.weight_bytes


def weight_code_bytes(layer: Layer) -> float:
    """The layer's float weights at a byte each; integers have no Winograd form."""
    return (layer.weight_bytes - layer.winograd_bytes) * CODE_BYTES / FLOAT_BYTES


def moved_bytes(graph: Graph, layer: Layer) -> int:
    """Bytes of the layer's weights, of each distinct input and of each output."""
    names = (*dict.fromkeys(layer.inputs), *layer.outputs)
    return layer.weight_bytes + sum(graph.tensor[name].size_bytes for name in names)


def moved_code_bytes(graph: Graph, layer: Layer) -> float:
    """`moved_bytes` where each float tensor is a byte an element, and so are the weights, taken as float32."""
    names = (*dict.fromkeys(layer.inputs), *layer.outputs)
    tensors = [graph.tensor[name] for name in names]
    held = sum(tensor.elements * CODE_BYTES if tensor.is_float else tensor.size_bytes for tensor in tensors)
    return held + weight_code_bytes(layer)
