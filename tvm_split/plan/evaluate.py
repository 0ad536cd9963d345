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
from collections.abc import Iterable, Mapping

from tvm_split.graph import DTYPE_BITS, Graph, Tensor
from tvm_split.plan.arena import arena_bytes, is_turned
from tvm_split.plan.problem import Candidate, Crossing, Kind, Problem, Timing


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


def memory_bytes(problem: Problem, edge: frozenset[str], payload: Iterable[Crossing]) -> int:
    """Edge memory of a cut, in the parts that are named above. O(layers + tensors)."""
    graph, sent = problem.graph, {part.tensor: part for part in payload}
    order = [layer for layer in graph.layers if layer.name in edge]
    kept = sent.keys() | graph.outputs
    weights = sum(layer.weight_bytes for layer in order)
    storages = list(arena_bytes(graph, order, kept, results_at_edge(problem)))
    copies = sum(copy_bytes(graph, part) for part in sent.values())
    packed, pack_scratch = pack_bytes(graph, sent)
    scratch = [layer.scratch_bytes for layer in order]
    return weights + input_bytes(graph) + (storages or [0])[-1] + copies + packed + max(pack_scratch, *scratch, 0)


def results_at_edge(problem: Problem) -> frozenset[str]:
    """Tensors that the edge half returns, if it makes them."""
    return frozenset(problem.graph.outputs) if problem.result_at == "edge" else frozenset()


def input_bytes(graph: Graph) -> int:
    """Bytes of the network inputs that are of use."""
    used = (name for name in graph.inputs if graph.readers[name] or name in graph.outputs)
    return sum(graph.tensor[name].size_bytes for name in used)


def copy_bytes(graph: Graph, part: Crossing) -> int:
    """Bytes of the copies between a tensor and the payload: the integers that quantise makes, and what is sent once
    more in the network's own layout, where the half keeps channels last."""
    tensor = graph.tensor[part.tensor]
    narrower = part.bits != DTYPE_BITS[tensor.dtype]
    width = (1 if part.bits <= 8 else 2) if narrower else DTYPE_BITS[tensor.dtype] // 8
    is_made = graph.producer[tensor.name] is not None
    return tensor.elements * width * (narrower + (is_made and is_turned(tensor)))


def pack_bytes(graph: Graph, crossing: Mapping[str, Crossing], sent: int | None = None) -> tuple[int, int]:
    """Bytes of the payload beside the tensors in it, and scratch of pack. `sent` is the payload's size, if known."""
    total = sum(part.size_bytes for part in crossing.values()) if sent is None else sent
    if len(crossing) != 1:
        return total, total
    ((name, part),) = crossing.items()
    is_bytes = part.bits == 8 and (copy_bytes(graph, part) > 0 or graph.tensor[name].dtype == "uint8")
    return (0 if is_bytes else total), 0


def returned_bytes(problem: Problem, edge: frozenset[str]) -> int:
    """Bytes of the outputs that come back: those made in the cloud, when the result is wanted at the edge."""
    graph = problem.graph
    if problem.result_at == "cloud":
        return 0
    made = ((name, graph.producer[name]) for name in dict.fromkeys(graph.outputs))
    return sum(graph.tensor[name].size_bytes for name, maker in made if maker is not None and maker not in edge)


def evaluate(problem: Problem, edge: Iterable[str], bits: int) -> Candidate:
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
        edge_memory_bytes=memory_bytes(problem, chosen, payload),
        predicted=timing,
    )


def ranked(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates soonest first, each once. Equal times: by edge layers, bytes and bits, fewest first."""
    once = {(found.edge_layers, found.crossing): found for found in candidates}
    return tuple(sorted(once.values(), key=_order))


def _order(found: Candidate) -> tuple[float, int, int, tuple[int, ...], tuple[str, ...]]:
    widths = tuple(part.bits for part in found.crossing)
    return found.predicted.total_s, len(found.edge_layers), found.payload_bytes, widths, found.edge_layers
