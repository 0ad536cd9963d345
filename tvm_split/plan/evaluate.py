"""Price one cut. The only place that turns a cut into a Candidate, so that every planner counts alike.

Edge memory is what the compiled half holds once it has run (design.md, decision 5: "Memory is the artefact's real
memory"); its parts, none of which takes another's place:

    weights    of the edge layers, as stored
    inputs     of the network, which the caller holds
    storages   of the tensors that the edge layers make, crossing ones to the end (`arena.py`)
    copies     of the tensors that are sent narrower than they are, or in another layout, in storages (`sending.py`)
    payload    what pack makes. One uint8 tensor alone is its own payload: TVM turns pack into a view
    scratch    of the layer that takes most (`scratch.py`). Pack takes, when several tensors cross, each one's bytes
               before it puts them into one row
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.arena import AS_THEY_ARE, Arena, Held, Stored, arena_walk
from tvm_split.plan.live import live_bytes
from tvm_split.plan.problem import Candidate, Crossing, Kind, Problem, Timing
from tvm_split.plan.sending import Copy, copies_of, packed_elements, payload_of, place

#: bytes of the storages that the layers and the copies behind them take; kept, returned, held as `arena_walk` has them
Storages = Callable[[Problem, Sequence[Layer], Collection[str], Held, Sequence[Copy]], int]


def as_planned(
    problem: Problem, layers: Sequence[Layer], kept: Collection[str], held: Held, copies: Sequence[Copy]
) -> int:
    """As TVM plans them, copies after the layers."""
    stored = Stored(Arena(), {}, 0)
    for after in arena_walk(problem.graph, layers, kept, results_at_edge(problem), held):
        stored = after
    place(stored.arena, stored.used, copies)
    return stored.size_bytes


def of_layers(
    problem: Problem, layers: Sequence[Layer], kept: Collection[str], held: Held, _copies: Sequence[Copy]
) -> int:
    """The same without the copies: as much is taken whatever crosses, and at what width."""
    return as_planned(problem, layers, kept, held, ())


def alive(problem: Problem, layers: Sequence[Layer], kept: Collection[str], held: Held, copies: Sequence[Copy]) -> int:
    """Live tensors (`live.py`), and the integers of tensors that are sent narrower, where no layer leaves them room.

    Never more than `as_planned`, and a sum of what is chosen.
    """
    sizes = live_bytes(problem.graph, layers, kept, results_at_edge(problem), held)
    return max(sizes, default=0) + apart(copies, shared_dtypes(problem))


def apart(copies: Iterable[Copy], shared: Collection[str]) -> int:
    """Bytes of the integers that have no storage in common with a layer's tensor; all are there at once."""
    return sum(copy.size_bytes for copy in copies if copy.quantised and copy.dtype not in shared)


def shared_dtypes(problem: Problem) -> frozenset[str]:
    """Of the storages that tensors of layers may have."""
    graph, precision = problem.graph, problem.precision
    found = {graph.tensor[name].dtype for layer in graph.layers for name in layer.outputs}
    widths = () if precision is None else (*precision.widths, *precision.fixed.values())
    return frozenset(found | {"uint8" if bits <= 8 else "float16" for bits in widths if bits <= 16})


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
    problem: Problem, edge: frozenset[str], payload: Sequence[Crossing], storages: Storages = as_planned
) -> int:
    """Edge memory of a cut, in the parts that are named above. O(layers + tensors)."""
    weights = sum(layer.weight_bytes for layer in problem.graph.layers if layer.name in edge)
    return weights + working_bytes(problem, edge, payload, planned=storages)


def working_bytes(
    problem: Problem,
    edge: frozenset[str],
    payload: Sequence[Crossing],
    held: Held = AS_THEY_ARE,
    planned: Storages = as_planned,
    scratch: int | None = None,
) -> int:
    """Edge memory of a cut beside its weights, with some tensors held at fewer bits than their own.

    scratch: of the layer that takes most, if not on floats.
    """
    graph, sent = problem.graph, {part.tensor for part in payload}
    order = [layer for layer in graph.layers if layer.name in edge]
    storages = planned(problem, order, sent.union(graph.outputs), held, copies_of(graph, payload, held))
    packed, pack_scratch = payload_of(graph, payload, held)
    if scratch is None:
        scratch = max((layer.scratch_bytes for layer in order), default=0)
    return input_bytes(graph) + storages + packed + max(pack_scratch, scratch)


def results_at_edge(problem: Problem) -> frozenset[str]:
    """Tensors that the edge half returns, if it makes them."""
    return frozenset(problem.graph.outputs) if problem.result_at == "edge" else frozenset()


def input_bytes(graph: Graph) -> int:
    """Bytes of the network inputs that are of use."""
    used = (name for name in graph.inputs if graph.readers[name] or name in graph.outputs)
    return sum(graph.tensor[name].size_bytes for name in used)


def returned_bytes(problem: Problem, edge: frozenset[str]) -> int:
    """Bytes of the outputs that come back: those made in the cloud, when the result is wanted at the edge."""
    graph = problem.graph
    if problem.result_at == "cloud":
        return 0
    made = ((name, graph.producer[name]) for name in dict.fromkeys(graph.outputs))
    return sum(graph.tensor[name].size_bytes for name, maker in made if maker is not None and maker not in edge)


def evaluate(problem: Problem, edge: Iterable[str], bits: int, storages: Storages = as_planned) -> Candidate:
    """Price the cut. GraphError when it is not downward closed. O(layers + tensors)."""
    graph = problem.graph
    chosen = graph.check_cut(edge)
    payload = crossings(problem, chosen, bits)
    sent = sum(part.size_bytes for part in payload)
    packed = packed_elements(graph, (part.tensor for part in payload))
    back = returned_bytes(problem, chosen)
    edge_s = (problem.edge.of(layer.name) for layer in graph.layers if layer.name in chosen)
    cloud_s = (problem.cloud.of(layer.name) for layer in graph.layers if layer.name not in chosen)
    timing = Timing(
        edge_s=math.fsum((*edge_s, problem.edge.crossing_s(packed))),
        uplink_s=problem.link.up_s(sent) if payload else 0.0,
        cloud_s=math.fsum((*cloud_s, problem.cloud.crossing_s(packed))),
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
