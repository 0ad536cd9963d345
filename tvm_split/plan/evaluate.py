"""Price one cut. The only place that turns a cut into a Candidate, so that every planner counts alike."""

from __future__ import annotations

from collections.abc import Iterable

from tvm_split.plan.problem import Candidate, Crossing, Kind, Problem, Timing


def crossings(problem: Problem, edge: frozenset[str], bits: int) -> tuple[Crossing, ...]:
    """The payload of a cut when floating-point tensors cross at `bits`. Empty for edge-only with the result wanted there."""
    graph = problem.graph
    found = []
    for name in graph.crossing(edge, result_at_cloud=problem.result_at == "cloud"):
        tensor = graph.tensor[name]
        width = problem.width(tensor, bits)
        found.append(Crossing(name, tensor.shape, width, -(-tensor.elements * width // 8)))
    return tuple(found)


def kind_of(problem: Problem, edge: frozenset[str]) -> Kind:
    if not edge:
        return "cloud-only"
    return "edge-only" if len(edge) == len(problem.graph.layers) else "split"


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
    """Price the cut. GraphError when it is not downward closed; CostError when a layer has no cost. O(layers + tensors)."""
    graph = problem.graph
    chosen = graph.check_cut(edge)
    payload = crossings(problem, chosen, bits)
    sent = sum(part.size_bytes for part in payload)
    back = returned_bytes(problem, chosen)
    timing = Timing(
        edge_s=sum(problem.edge.of(layer.name) for layer in graph.layers if layer.name in chosen),
        uplink_s=problem.link.up_s(sent) if payload else 0.0,
        cloud_s=sum(problem.cloud.of(layer.name) for layer in graph.layers if layer.name not in chosen),
        downlink_s=problem.link.down_s(back) if back else 0.0,
    )
    return Candidate(
        kind=kind_of(problem, chosen),
        edge_layers=tuple(layer.name for layer in graph.layers if layer.name in chosen),
        crossing=payload,
        edge_memory_bytes=memory_bytes(problem, chosen, sent),
        predicted=timing,
    )
