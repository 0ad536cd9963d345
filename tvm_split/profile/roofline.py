"""Seconds of each layer from the target's file alone: for planning without the device at hand.

The roofline model (Williams, Waterman, Patterson: "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4), 2009) bounds a kernel by the arithmetic it does and the bytes it moves:

    seconds = max(flops / (peak * efficiency), bytes / bandwidth) + layer overhead

It is a **bound, so optimistic**: it takes arithmetic and memory to overlap wholly, memory to run at the rate in the
target's file, and each byte to move once. `efficiency` corrects the arithmetic alone.

Where efficiency comes from. TVM 0.27's default CPU pipeline schedules nothing. On one AMD EPYC (Zen 4, 2 cores, LLVM's
znver4), untuned float32 kernels ran on one thread whatever the number of cores (processor time = wall time), at:

    conv 3x3  64 ->  64, 56x56     1.9 GFLOP/s        conv 1x1 256 ->  64, 56x56     2.2 GFLOP/s
    conv 3x3 256 -> 256, 14x14     1.8 GFLOP/s        conv 7x7   3 ->  64, 224x224   2.7 GFLOP/s
    dense 2048 -> 1000             1.6 GFLOP/s        (numpy's sgemm, one thread:   88 to 103 GFLOP/s)

which is one chain of multiply-adds, each waiting for the one before it: 2 operations in a latency of about 4 cycles.
The target files therefore say 0.5 operations a cycle, of one core, for every processor. For ARM this is an assumption:
nobody has measured it on a board. An empty layer took 0.16 us of Relax's virtual machine on the same EPYC.
Measured costs replace all this; kernels with a schedule need a new efficiency.
"""

from __future__ import annotations

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer
from tvm_split.targets.spec import TargetSpec


def roofline(graph: Graph, target: TargetSpec) -> Costs:
    """Costs of every layer, `source` "roofline". The target's numbers go into the provenance. O(layers + reads).

    Bytes are the layer's weights, each distinct input once and its outputs, at the sizes the graph gives them. All
    arithmetic is priced at the float32 peak. An accelerator's tiling is not modelled.
    """
    flops_per_s = target.peak_flops_per_s * target.efficiency
    return Costs(
        target=target.name,
        source="roofline",
        layer_s={
            layer.name: max(layer.flops / flops_per_s, moved_bytes(graph, layer) / target.memory_bandwidth_bytes_per_s)
            + target.layer_overhead_s
            for layer in graph.layers
        },
        provenance={
            "graph": graph.name,
            "peak_flops_per_s": target.peak_flops_per_s,
            "efficiency": target.efficiency,
            "memory_bandwidth_bytes_per_s": target.memory_bandwidth_bytes_per_s,
            "layer_overhead_s": target.layer_overhead_s,
        },
    )


def moved_bytes(graph: Graph, layer: Layer) -> int:
    """Bytes of the layer's weights, of each distinct input and of each output."""
    names = (*dict.fromkeys(layer.inputs), *layer.outputs)
    return layer.weight_bytes + sum(graph.tensor[name].size_bytes for name in names)
