"""Price one cut. The only place that turns a cut into a Candidate, so that every planner counts alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tvm_split.graph import Tensor
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


def memory_bytes(problem: Problem, edge: frozenset[str], payload_bytes: int) -> int:
    """Edge memory of a cut: weights as stored, peak of live activations, and the payload buffer."""
    weights = sum(problem.graph.layer[name].weight_bytes for name in edge)
    return weights + problem.graph.peak_activation_bytes(edge) + payload_bytes


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
        edge_memory_bytes=memory_bytes(problem, chosen, sent),
        predicted=timing,
    )


def ranked(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates soonest first, each once. Equal times: by edge layers, bytes and bits, fewest first."""
    once = {(found.edge_layers, found.crossing): found for found in candidates}
    return tuple(sorted(once.values(), key=_order))


def _order(found: Candidate) -> tuple[float, int, int, tuple[int, ...], tuple[str, ...]]:
    widths = tuple(part.bits for part in found.crossing)
    return found.predicted.total_s, len(found.edge_layers), found.payload_bytes, widths, found.edge_layers
