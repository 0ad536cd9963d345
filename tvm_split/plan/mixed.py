"""Price one cut with bits: the only place that turns a cut, and bits of its parts, into a Candidate.

    weights       of each edge layer, at the bits given for it, as `Precision.weight_bytes` stores them
    held tensors  at the bits given, in storages as TVM plans them: one byte an element up to 8 bits, two at 16
    crossing      each at its own bits, and never wider than it is held; then it is sent as it is
    on integers   a layer whose quantisable weights have at most 8 bits, and all float tensors that it reads as well
    as they are   integer tensors, network outputs, and tensors and layers whose distortion is not known
    distortion    of each edge layer's weights, and of each tensor once, at the narrowest width that a reader gets

    scratch       of the layer that takes most, on integers or floats

Inputs, copies and payload are those of `evaluate.py`, which counts them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tvm_split.errors import PlanError
from tvm_split.graph import DTYPE_BITS, Layer, Tensor
from tvm_split.plan.arena import Held, storage_bits
from tvm_split.plan.evaluate import Storages, as_planned, kind_of, returned_bytes, working_bytes
from tvm_split.plan.precision import INTEGER_BITS, Precision
from tvm_split.plan.problem import AS_IT_IS, Candidate, Crossing, Problem, Timing
from tvm_split.plan.sending import packed_elements

NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits of the edge's weights by layer, of held tensors, and of crossing tensors. What is not named is not
    quantised; what is not on the edge may be named, and does not count."""

    weights: Mapping[str, int] = field(default_factory=lambda: NONE)
    tensors: Mapping[str, int] = field(default_factory=lambda: NONE)
    crossing: Mapping[str, int] = field(default_factory=lambda: NONE)


def precision_of(problem: Problem) -> Precision:
    """PlanError when the problem knows no precision."""
    if problem.precision is None:
        raise PlanError("the problem has no precision, so its bits cannot be planned; calibrate the network")
    return problem.precision


def evaluate_mixed(problem: Problem, edge: Iterable[str], bits: Bits, storages: Storages = as_planned) -> Candidate:
    """Price the cut. GraphError when it is not downward closed, PlanError when a distortion is not known.

    storages: what the tensors that the edge makes take; `as_planned` by TVM, or what is `alive`. O(layers + tensors).
    """
    return CutPrice(problem, edge).at(bits, storages)


class CutPrice:
    """`evaluate_mixed` of one cut, for many choices of bits: what all of them share is worked out once."""

    def __init__(self, problem: Problem, edge: Iterable[str]) -> None:
        self.problem, self.precision = problem, precision_of(problem)
        graph = problem.graph
        self.chosen = graph.check_cut(edge)
        self.layers = [layer for layer in graph.layers if layer.name in self.chosen]
        names = graph.crossing(self.chosen, result_at_cloud=problem.result_at == "cloud")
        self.crossing = [graph.tensor[name] for name in names]
        self.needs = [tuple(float_reads(problem, layer)) for layer in self.layers]
        packed = packed_elements(graph, names)
        self.packing_s = problem.edge.crossing_s(packed)
        cloud_s = (problem.cloud.of(layer.name) for layer in graph.layers if layer.name not in self.chosen)
        self.cloud_s = math.fsum((*cloud_s, problem.cloud.crossing_s(packed)))
        back = returned_bytes(problem, self.chosen)
        self.downlink_s = problem.link.down_s(back) if back else 0.0
        used = dict.fromkeys(name for layer in self.layers for name in (*layer.inputs, *layer.outputs))
        self.own_bits = {
            name: DTYPE_BITS[graph.tensor[name].dtype]
            for name in used
            if name in self.precision.tensor_distortion and name not in graph.outputs
        }

    def at(self, bits: Bits, storages: Storages = as_planned) -> Candidate:
        problem, precision, layers = self.problem, self.precision, self.layers
        held = {n: bits.tensors[n] for n, own in self.own_bits.items() if bits.tensors.get(n, AS_IT_IS) < own}
        payload = tuple(crossing_at(problem, t, bits.crossing.get(t.name, AS_IT_IS), held) for t in self.crossing)
        width = {layer.name: bits.weights.get(layer.name, AS_IT_IS) for layer in layers}
        narrowed = {n: b for n, b in width.items() if b < AS_IT_IS and n in precision.weight_distortion}
        on_integers = self.on_integers(narrowed, held)
        weights = sum(precision.weight_bytes(x, width[x.name], x.name in on_integers) for x in layers)
        scratch = max(
            (precision.scratch_bytes(layer, layer.name in on_integers, width[layer.name]) for layer in layers),
            default=0,
        )
        timing = Timing(
            edge_s=math.fsum((*self._edge_seconds(on_integers), self.packing_s)),
            uplink_s=problem.link.up_s(sum(part.size_bytes for part in payload)) if payload else 0.0,
            cloud_s=self.cloud_s,
            downlink_s=self.downlink_s,
        )
        return Candidate(
            kind=kind_of(problem, self.chosen),
            edge_layers=tuple(layer.name for layer in layers),
            crossing=payload,
            edge_memory_bytes=weights + working_bytes(problem, self.chosen, payload, held, storages, scratch),
            predicted=timing,
            weight_bits=narrowed,
            tensor_bits=held,
            distortion=math.fsum(_distortions(problem, narrowed, held, payload)),
        )

    def on_integers(self, weight_bits: Mapping[str, int], held: Held) -> frozenset[str]:
        """The edge layers that these weights and held tensors let compute on integers, where the edge can."""
        precision = self.precision
        found = []
        for layer, needs in zip(self.layers, self.needs, strict=True):
            has_weights = layer.name in precision.weight_distortion
            narrow = not has_weights or weight_bits.get(layer.name, AS_IT_IS) <= INTEGER_BITS
            narrow = narrow and all(held.get(read, AS_IT_IS) <= INTEGER_BITS for read in needs)
            if precision.integer is not None and narrow and (has_weights or bool(needs)):
                found.append(layer.name)
        return frozenset(found)

    def _edge_seconds(self, on_integers: Collection[str]) -> Iterator[float]:
        for layer in self.layers:
            known = self.precision.integer_s if layer.name in on_integers else self.problem.edge.of
            yield known(layer.name)


def crossing_at(problem: Problem, tensor: Tensor, wanted: int, held: Held) -> Crossing:
    """What a tensor adds to the payload: at `wanted` bits, unless it is held at less or must be sent as it is."""
    width = problem.width(tensor, wanted)
    if tensor.name in held and problem.graph.producer[tensor.name] is not None:
        width = min(width, storage_bits(tensor, held))
    return Crossing(tensor.name, tensor.shape, width, -(-tensor.elements * width // 8))


def may_be_integer(problem: Problem, layer: Layer) -> bool:
    """Whether bits decide what the layer computes on; one without floats and quantisable weights is as it is."""
    return layer.name in precision_of(problem).weight_distortion or any(True for _ in float_reads(problem, layer))


def float_reads(problem: Problem, layer: Layer) -> Iterator[str]:
    return (name for name in layer.inputs if problem.graph.tensor[name].is_float)


def tensor_distortion(problem: Problem, name: str, bits: int) -> float:
    """Distortion of a tensor at a width, 0 at its own and at what is sent or held as it is."""
    if bits >= DTYPE_BITS[problem.graph.tensor[name].dtype]:
        return 0.0
    return precision_of(problem).of_tensor(name, bits)


def _distortions(
    problem: Problem, weight_bits: Mapping[str, int], held: Held, payload: Iterable[Crossing]
) -> Iterator[float]:
    """What each layer's weights and each tensor add. A network input is always sent as it is."""
    precision = precision_of(problem)
    for layer, bits in weight_bits.items():
        yield precision.of_weights(layer, bits)
    narrowest = dict(held)
    for part in payload:
        narrowest[part.tensor] = min(part.bits, held.get(part.tensor, part.bits))
    for name, bits in narrowest.items():
        yield tensor_distortion(problem, name, bits)
