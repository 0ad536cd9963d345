"""Price one cut. The only place that turns a cut into a Candidate, so that every planner counts alike.

Edge memory is what the compiled half holds once it has run (design.md, decision 5: "Memory is the artefact's real
memory"); its parts, none of which takes another's place:

    weights    of the edge layers, as stored
    inputs     of the network, which the caller holds
    storages   of the tensors that the edge layers make, crossing ones to the end (`arena.py`)
    copies     of each tensor that is sent narrower than it is: quantise makes a uint8 or uint16 of each element, and
               pack reads all of them at once. What the half holds channels last is turned first, which is a copy more
    payload    what pack makes. One uint8 tensor alone is its own payload: TVM turns pack into a view
    scratch    of the layer that takes most (`scratch.py`). Pack takes, when several tensors cross, each one's bytes
               before it puts them into one row
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.arena import AS_THEY_ARE, Held, arena_bytes, is_turned, storage_bits
from tvm_split.plan.problem import Candidate, Crossing, Kind, Problem, Timing

#: bytes of the storages after each layer, as `arena_bytes` counts them
Storages = Callable[[Graph, Iterable[Layer], Collection[str], Collection[str], Held], Iterator[int]]


def crossings(problem: Problem, edge: frozenset[str], bits: int) -> tuple[Crossing, ...]:
    """The payload of a cut when floating-point tensors cross at `bits`. Edge-only may have none."""
    graph = problem.graph
    names = graph.crossing(edge, result_at_cloud=problem.result_at == "cloud")
    return tuple(crossing_of(problem, graph.tensor[name], bits) for name in names)


def crossing_of(problem: Problem, tensor: Tensor, bits: int) -> Crossing:
    """What one tensor adds to a payload whose floating-point tensors cross at `bits`."""
    width = problem.width(tensor, bits)
    return Crossing(tensor.name, tensor.shape, width, -(-tensor.elements * width // 8))


def kind_of(problem: Problem, edge: frozenset[str]) -> Kind:
    return kind_of_count(problem, len(edge))


def kind_of_count(problem: Problem, edge_layers: int) -> Kind:
    """Kind of a cut with so many layers on the edge."""
    if not edge_layers:
        return "cloud-only"
    return "edge-only" if edge_layers == len(problem.graph.layers) else "split"


def memory_bytes(
    problem: Problem, edge: frozenset[str], payload: Iterable[Crossing], storages: Storages = arena_bytes
) -> int:
    """Edge memory of a cut, in the parts that are named above. O(layers + tensors)."""
    weights = sum(layer.weight_bytes for layer in problem.graph.layers if layer.name in edge)
    return weights + working_bytes(problem, edge, payload, planned=storages)


def working_bytes(
    problem: Problem,
    edge: frozenset[str],
    payload: Iterable[Crossing],
    held: Held = AS_THEY_ARE,
    planned: Storages = arena_bytes,
    scratch: int | None = None,
) -> int:
    """Edge memory of a cut beside its weights, with some tensors held at fewer bits than their own.

    scratch: of the layer that takes most, if not on floats.
    """
    graph, sent = problem.graph, {part.tensor: part for part in payload}
    order = [layer for layer in graph.layers if layer.name in edge]
    kept = sent.keys() | graph.outputs
    storages = list(planned(graph, order, kept, results_at_edge(problem), held))
    if scratch is None:
        scratch = max((layer.scratch_bytes for layer in order), default=0)
    return input_bytes(graph) + (storages or [0])[-1] + payload_memory_bytes(graph, sent, scratch, held)


def payload_memory_bytes(graph: Graph, sent: Mapping[str, Crossing], scratch: int, held: Held = AS_THEY_ARE) -> int:
    """Copies, payload, and scratch of the layer that takes most (`scratch`) or of pack."""
    packed, pack_scratch = pack_bytes(graph, sent, held=held)
    return sum(copy_bytes(graph, part, held) for part in sent.values()) + packed + max(pack_scratch, scratch)


def results_at_edge(problem: Problem) -> frozenset[str]:
    """Tensors that the edge half returns, if it makes them."""
    return frozenset(problem.graph.outputs) if problem.result_at == "edge" else frozenset()


def input_bytes(graph: Graph) -> int:
    """Bytes of the network inputs that are of use."""
    used = (name for name in graph.inputs if graph.readers[name] or name in graph.outputs)
    return sum(graph.tensor[name].size_bytes for name in used)


def copy_bytes(graph: Graph, part: Crossing, held: Held = AS_THEY_ARE) -> int:
    """Bytes of the copies between a tensor and the payload: the integers that quantise makes, and what is sent once
    more in the network's own layout, where the half keeps channels last."""
    tensor = graph.tensor[part.tensor]
    is_made = graph.producer[tensor.name] is not None
    narrower = part.bits != storage_bits(tensor, held if is_made else AS_THEY_ARE)
    width = (1 if part.bits <= 8 else 2) if narrower else part.bits // 8
    return tensor.elements * width * (narrower + (is_made and is_turned(tensor)))


def pack_bytes(
    graph: Graph, crossing: Mapping[str, Crossing], sent: int | None = None, held: Held = AS_THEY_ARE
) -> tuple[int, int]:
    """Bytes of the payload beside the tensors in it, and scratch of pack. `sent` is the payload's size, if known."""
    total = sum(part.size_bytes for part in crossing.values()) if sent is None else sent
    if len(crossing) != 1:
        return total, total
    ((name, part),) = crossing.items()
    unsigned = graph.tensor[name].dtype == "uint8" or (name in held and graph.producer[name] is not None)
    is_bytes = part.bits == 8 and (copy_bytes(graph, part, held) > 0 or unsigned)
    return (0 if is_bytes else total), 0


def returned_bytes(problem: Problem, edge: frozenset[str]) -> int:
    """Bytes of the outputs that come back: those made in the cloud, when the result is wanted at the edge."""
    graph = problem.graph
    if problem.result_at == "cloud":
        return 0
    made = ((name, graph.producer[name]) for name in dict.fromkeys(graph.outputs))
    return sum(graph.tensor[name].size_bytes for name, maker in made if maker is not None and maker not in edge)


def evaluate(problem: Problem, edge: Iterable[str], bits: int, storages: Storages = arena_bytes) -> Candidate:
    """Price the cut. GraphError when it is not downward closed. O(layers + tensors)."""
    graph = problem.graph
    chosen = graph.check_cut(edge)
    payload = crossings(problem, chosen, bits)
    sent = sum(part.size_bytes for part in payload)
    back = returned_bytes(problem, chosen)
    timing = Timing(
        edge_s=math.fsum(problem.edge.of(layer.name) for layer in graph.layers if layer.name in chosen),
        uplink_s=problem.link.up_s(sent) if payload else 0.0,
        cloud_s=math.fsum(problem.cloud.of(layer.name) for layer in graph.layers if layer.name not in chosen),
        downlink_s=problem.link.down_s(back) if back else 0.0,
    )
    return Candidate(
        kind=kind_of(problem, chosen),
        edge_layers=tuple(layer.name for layer in graph.layers if layer.name in chosen),
        crossing=payload,
        edge_memory_bytes=memory_bytes(problem, chosen, payload, storages),
        predicted=timing,
    )


def ranked(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates soonest first, each once as it first came. Equal times: by layers, bytes, bits, fewest first."""
    once: dict[Any, Candidate] = {}
    for found in candidates:
        once.setdefault(identity(found), found)
    return tuple(sorted(once.values(), key=_order))


def identity(found: Candidate) -> tuple[Any, ...]:
    """What two candidates share that are one answer: cut, payload and bits."""
    bits = (tuple(sorted(found.weight_bits.items())), tuple(sorted(found.tensor_bits.items())))
    return found.edge_layers, found.crossing, *bits


def _order(found: Candidate) -> tuple[Any, ...]:
    widths = tuple(part.bits for part in found.crossing)
    cut = (len(found.edge_layers), found.payload_bytes, widths, found.edge_layers)
    return found.predicted.total_s, *cut, found.distortion, found.edge_memory_bytes
