"""Price one cut with bits: the only place that turns a cut, and bits of its parts, into a Candidate.

    weights       of each edge layer, at the bits given for it, as `Precision.weight_bytes` stores them
    held tensors  at the bits given, in storages as TVM plans them: one byte an element up to 8 bits, two at 16
    crossing      each at its own bits, and never wider than it is held; then it is sent as it is
    on integers   a layer whose quantisable weights have at most 8 bits, and all float tensors that it reads as well
    distortion    of each edge layer's weights, and of each tensor once, at the narrowest width that a reader gets

Inputs, copies, payload and scratch are those of `evaluate.py`, which counts them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tvm_split.errors import PlanError
from tvm_split.graph import DTYPE_BITS, Layer, Tensor
from tvm_split.plan.arena import Held, arena_bytes, storage_bits
from tvm_split.plan.evaluate import Storages, kind_of, returned_bytes, working_bytes
from tvm_split.plan.precision import INTEGER_BITS, Precision
from tvm_split.plan.problem import AS_IT_IS, Candidate, Crossing, Problem, Timing

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


def evaluate_mixed(problem: Problem, edge: Iterable[str], bits: Bits, storages: Storages = arena_bytes) -> Candidate:
    """Price the cut. GraphError when it is not downward closed, PlanError when a distortion is not known.

    storages: what the tensors that the edge makes take; as TVM plans them, or `live_bytes`. O(layers + tensors).
    """
    graph, precision = problem.graph, precision_of(problem)
    chosen = graph.check_cut(edge)
    layers = [layer for layer in graph.layers if layer.name in chosen]
    held = held_bits(problem, layers, bits.tensors)
    names = graph.crossing(chosen, result_at_cloud=problem.result_at == "cloud")
    payload = tuple(crossing_at(problem, graph.tensor[name], bits.crossing.get(name, AS_IT_IS), held) for name in names)
    width = {layer.name: bits.weights.get(layer.name, AS_IT_IS) for layer in layers}
    narrowed = {n: b for n, b in width.items() if b < AS_IT_IS and n in precision.weight_distortion}
    sent = sum(part.size_bytes for part in payload)
    back = returned_bytes(problem, chosen)
    timing = Timing(
        edge_s=math.fsum(edge_seconds(problem, layer, narrowed, held) for layer in layers),
        uplink_s=problem.link.up_s(sent) if payload else 0.0,
        cloud_s=math.fsum(problem.cloud.of(layer.name) for layer in graph.layers if layer.name not in chosen),
        downlink_s=problem.link.down_s(back) if back else 0.0,
    )
    weights = sum(precision.weight_bytes(layer, width[layer.name]) for layer in layers)
    return Candidate(
        kind=kind_of(problem, chosen),
        edge_layers=tuple(layer.name for layer in layers),
        crossing=payload,
        edge_memory_bytes=weights + working_bytes(problem, chosen, payload, held, storages),
        predicted=timing,
        weight_bits=narrowed,
        tensor_bits=held,
        distortion=math.fsum(_distortions(problem, narrowed, held, payload)),
    )


def held_bits(problem: Problem, layers: Iterable[Layer], wanted: Mapping[str, int]) -> dict[str, int]:
    """Bits of the tensors that these edge layers make or read, where they are held at fewer than their own.

    Integer tensors, network outputs and tensors whose distortion is not known are held as they are.
    """
    graph, known = problem.graph, precision_of(problem).tensor_distortion
    used = dict.fromkeys(name for layer in layers for name in (*layer.inputs, *layer.outputs))
    return {
        name: wanted[name]
        for name in used
        if name in wanted and name in known and name not in graph.outputs
        and wanted[name] < DTYPE_BITS[graph.tensor[name].dtype]
    }  # fmt: skip


def crossing_at(problem: Problem, tensor: Tensor, wanted: int, held: Held) -> Crossing:
    """What a tensor adds to the payload: at `wanted` bits, unless it is held at less or must be sent as it is."""
    width = problem.width(tensor, wanted)
    if tensor.name in held and problem.graph.producer[tensor.name] is not None:
        width = min(width, storage_bits(tensor, held))
    return Crossing(tensor.name, tensor.shape, width, -(-tensor.elements * width // 8))


def edge_seconds(problem: Problem, layer: Layer, weight_bits: Mapping[str, int], held: Held) -> float:
    """Seconds of an edge layer, on integers where these weights and held tensors allow it."""
    precision = precision_of(problem)
    if precision.integer is None:
        return problem.edge.of(layer.name)
    weights = layer.name not in precision.weight_distortion or weight_bits.get(layer.name, AS_IT_IS) <= INTEGER_BITS
    on_integers = weights and all(held.get(name, AS_IT_IS) <= INTEGER_BITS for name in float_reads(problem, layer))
    on_integers = on_integers and may_be_integer(problem, layer)
    return precision.integer_s(layer.name) if on_integers else problem.edge.of(layer.name)


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
