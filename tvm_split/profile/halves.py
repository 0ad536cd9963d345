"""Whole halves to time: real cuts of a network, both sides compiled as `compile` does, crossing tensors at 8 bits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tvm

from tvm_split import pipeline
from tvm_split.calibration.network import calibratable
from tvm_split.graph import Graph, Layer
from tvm_split.plan.sending import packed_elements
from tvm_split.profile.roofline import moved_bytes
from tvm_split.profile.workload import made_up_quantizers


@dataclass(frozen=True)
class WholeHalf:
    """One half, to be lowered and timed. layers: those that it computes. crossing: elements that it packs or unpacks,
    as plans count them.

    cut: the number of the edge's layers, in words.
    """

    side: str
    cut: str
    module: tvm.IRModule
    layers: tuple[Layer, ...]
    crossing: int

    def moved_bytes(self, graph: Graph) -> int:
        return sum(moved_bytes(graph, layer) for layer in self.layers)


def prefixes(graph: Graph, count: int, seed: int) -> list[int]:
    """`count` numbers of layers, or as many as there are, spread over the network; the whole network is the last."""
    layers = len(graph.layers)
    draw = random.Random(seed)
    found = {layers}
    for i in range(count - 1):
        low, high = 1 + i * (layers - 1) // max(count - 1, 1), (i + 1) * (layers - 1) // max(count - 1, 1)
        if low <= high:
            found.add(draw.randint(low, high))
    return sorted(found)


def halves_at(mod: tvm.IRModule, graph: Graph, edge_layers: Sequence[str]) -> Iterator[WholeHalf]:
    """The halves of a cut that compute something, the edge's first. `mod` is the module of layers."""
    edge = frozenset(edge_layers)
    sent = [name for name in graph.crossing(edge) if name in calibratable(graph) and name not in graph.inputs]
    marked = pipeline.at_cut(edge_layers, made_up_quantizers(sent, ()))(mod)
    crossing = packed_elements(graph, graph.crossing(edge))
    for side, module in zip(("edge", "cloud"), pipeline.halves(marked), strict=True):
        layers = tuple(layer for layer in graph.layers if (layer.name in edge) == (side == "edge"))
        if layers:
            yield WholeHalf(side, f"{len(edge)} of {len(graph.layers)} layers", module, layers, crossing)
