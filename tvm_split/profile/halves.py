"""Whole halves to time: real cuts of a network, both sides compiled as `compile` does, crossing tensors at 8 bits."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import tvm

from tvm_split import explain, extract, pipeline
from tvm_split.edge_half import on_bits
from tvm_split.graph import Graph, Layer
from tvm_split.plan.sending import packed_elements
from tvm_split.profile.noise import Timed
from tvm_split.profile.records import HalfRecord
from tvm_split.profile.roofline import moved_bytes, moved_code_bytes, weight_bytes, weight_code_bytes
from tvm_split.profile.workload import made_up_precision
from tvm_split.quantizer import Quantizer


@dataclass(frozen=True)
class WholeHalf:
    """One half, to be lowered and timed. layers: those that it computes. crossing: elements that it packs or unpacks,
    as plans count them.

    cut: the number of the edge's layers, in words. on_integers: its layers are on 8-bit integers where they can be.
    """

    side: str
    cut: str
    module: tvm.IRModule
    layers: tuple[Layer, ...]
    crossing: int
    on_integers: bool = False

    def moved_bytes(self, graph: Graph) -> float:
        count = moved_code_bytes if self.on_integers else moved_bytes
        return sum(count(graph, layer) for layer in self.layers)

    @property
    def weight_bytes(self) -> float:
        count = weight_code_bytes if self.on_integers else weight_bytes
        return sum(count(layer) for layer in self.layers)


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


def halves_at(
    mod: tvm.IRModule, graph: Graph, cuts: Iterable[Sequence[str]], integers: bool = False
) -> Iterator[WholeHalf]:
    """The halves that compute something, the edge's first, of each cut, which is the edge's layers.

    `mod` is the module of layers. integers: the edge's halves on 8-bit integers as well.
    """
    weights, held = made_up_precision(mod, graph)
    for edge_layers in cuts:
        yield from _halves(mod, graph, edge_layers, weights if integers else None, held)


def _halves(
    mod: tvm.IRModule, graph: Graph, edge_layers: Sequence[str], weights: Mapping[str, int] | None,
    held: Mapping[str, Quantizer],
) -> Iterator[WholeHalf]:  # fmt: skip
    """weights: bits of layers on integers, None for no half of these."""
    edge = frozenset(edge_layers)
    sent = {name: held[name] for name in graph.crossing(edge) if name in held and name not in graph.inputs}
    halves = pipeline.halves(pipeline.at_cut(edge_layers, sent)(mod))
    crossing, cut = packed_elements(graph, graph.crossing(edge)), f"{len(edge)} of {len(graph.layers)} layers"
    for side, module in zip(("edge", "cloud"), halves, strict=True):
        layers = tuple(layer for layer in graph.layers if (layer.name in edge) == (side == "edge"))
        if layers:
            yield WholeHalf(side, cut, module, layers, crossing)
        if layers and weights is not None and side == "edge":
            here = {layer: bits for layer, bits in weights.items() if layer in edge}
            inside = {name: held[name] for name in extract.graph(module).tensor if name in held}
            with explain.heard():  # what the passes have to say of it, they say of the half that is compiled
                made = on_bits(module, here, inside)
            yield WholeHalf(side, f"{cut}, 8 bits", made, layers, crossing, on_integers=True)


def record_of(graph: Graph, half: WholeHalf, keys: Mapping[str, str], timed: Timed) -> HalfRecord:
    """A half of a network as it was timed. keys: of its layers' kernels, by layer."""
    return HalfRecord(
        graph.name, half.side, half.cut,
        half.weight_bytes, half.moved_bytes(graph), half.crossing, timed.seconds,
        timed.spread, tuple(keys[layer.name] for layer in half.layers),
    )  # fmt: skip
