"""Price every prefix of the layers' order in one walk, equal to `evaluate` on each of them.

    prefix n:    layers 0..n-1 on the edge, the others in the cloud
    payload:     a tensor starts to cross when its maker joins the edge, and stops when its last reader does
    memory:      what crosses keeps its storage to the end, and storages are planned in the layers' order, so those of
                 prefix n are those of the whole network's run after n layers (`arena.py`)

One walk is O(layers + reads), and at each prefix O(crossing tensors + free storages); its sums are exact (fractions),
so that they round as `evaluate`'s do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain

from tvm_split.graph import Tensor
from tvm_split.plan.arena import Arena, Stored, arena_walk
from tvm_split.plan.evaluate import crossing_of, input_bytes, kind_of_count, results_at_edge
from tvm_split.plan.problem import Candidate, Crossing, Problem, Timing
from tvm_split.plan.sending import copies_of, packed_elements, payload_of, place

#: prefixes of one width that become Candidates: each names all its layers, so all of them would take O(layers^2) memory
KEEP = 100


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `layers` layers on the edge, priced. `largest_activation_bytes` is of any tensor those layers make."""

    layers: int
    weight_bytes: int
    largest_activation_bytes: int
    payload_bytes: int
    packed_elements: int
    memory_bytes: int
    timing: Timing


def sweep(problem: Problem, bits: int) -> tuple[Prefix, ...]:
    """All layers + 1 prefixes, in order, floating-point tensors crossing at `bits`. O(layers + reads)."""
    graph = problem.graph
    layers = graph.layers
    edge_s = _running_sums(problem.edge.of(layer.name) for layer in layers)
    cloud_s = _running_sums(problem.cloud.of(layer.name) for layer in reversed(layers))[::-1]
    weights = list(accumulate((layer.weight_bytes for layer in layers), initial=0))
    largest = list(accumulate((_largest_output(problem, layer.outputs) for layer in layers), max, initial=0))
    storages = chain([Stored(Arena(), {}, 0)], arena_walk(graph, layers, graph.outputs, results_at_edge(problem)))
    place_of = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    scratch = list(accumulate((layer.scratch_bytes for layer in layers), max, initial=0))
    inputs, back = input_bytes(graph), _returned(problem)
    found = []
    crossing: dict[str, Crossing] = {}
    for n, (stored, (starts, stops)) in enumerate(zip(storages, _changes(problem), strict=True)):
        crossing.update((tensor.name, crossing_of(problem, tensor, bits)) for tensor in starts)
        for tensor in stops:
            del crossing[tensor.name]
        parts = [crossing[name] for name in sorted(crossing, key=place_of.__getitem__)]
        sent = sum(part.size_bytes for part in parts)
        elements = packed_elements(graph, crossing)
        packed, pack_scratch = payload_of(graph, parts)
        arena = stored.arena.copy()
        place(arena, stored.used, copies_of(graph, parts))
        memory = weights[n] + inputs + arena.size_bytes + stored.results + packed + max(scratch[n], pack_scratch)
        timing = Timing(
            edge_s=float(edge_s[n] + Fraction(problem.edge.crossing_s(elements))),
            uplink_s=problem.link.up_s(sent) if crossing else 0.0,
            cloud_s=float(cloud_s[n] + Fraction(problem.cloud.crossing_s(elements))),
            downlink_s=problem.link.down_s(back[n]) if back[n] else 0.0,
        )
        found.append(Prefix(n, weights[n], largest[n], sent, elements, memory, timing))
    return tuple(found)


def best_prefixes(problem: Problem, bits: int, prefixes: Iterable[Prefix], keep: int = KEEP) -> list[Candidate]:
    """The `keep` soonest of the prefixes, shorter first when equal, as Candidates. Prefix 0 is kept whenever given."""
    given = list(prefixes)
    chosen = heapq.nsmallest(keep, given, key=lambda prefix: (prefix.timing.total_s, prefix.layers))
    chosen += [prefix for prefix in given if prefix.layers == 0 and prefix not in chosen]
    return as_candidates(problem, bits, chosen)


def as_candidates(problem: Problem, bits: int, prefixes: Sequence[Prefix]) -> list[Candidate]:
    """The prefixes as Candidates, each with its payload, in the order given. O(layers * prefixes)."""
    graph = problem.graph
    names = tuple(layer.name for layer in graph.layers)
    place = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    wanted = {prefix.layers for prefix in prefixes}
    crossing: dict[str, Tensor] = {}
    payloads = {}
    for n, (starts, stops) in enumerate(_changes(problem)):
        crossing.update((tensor.name, tensor) for tensor in starts)
        for tensor in stops:
            del crossing[tensor.name]
        if n in wanted:
            ordered = sorted(crossing.values(), key=lambda tensor: place[tensor.name])
            payloads[n] = tuple(crossing_of(problem, tensor, bits) for tensor in ordered)
    return [
        Candidate(
            kind=kind_of_count(problem, prefix.layers),
            edge_layers=names[: prefix.layers],
            crossing=payloads[prefix.layers],
            edge_memory_bytes=prefix.memory_bytes,
            predicted=prefix.timing,
        )
        for prefix in prefixes
    ]


def _running_sums(seconds: Iterable[float]) -> list[Fraction]:
    return list(accumulate(map(Fraction, seconds), initial=Fraction(0)))


def _largest_output(problem: Problem, outputs: Iterable[str]) -> int:
    return max((problem.graph.tensor[name].size_bytes for name in outputs), default=0)


def _changes(problem: Problem) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """For each prefix, the tensors that start to cross with it and those that stop."""
    graph = problem.graph
    results = set(graph.outputs) if problem.result_at == "cloud" else set()
    starts: list[list[Tensor]] = [[] for _ in range(len(graph.layers) + 1)]
    stops: list[list[Tensor]] = [[] for _ in range(len(graph.layers) + 1)]
    for tensor in graph.tensors:
        readers = graph.readers[tensor.name]
        if not readers and tensor.name not in results:
            continue
        maker = graph.producer.get(tensor.name)
        starts[0 if maker is None else graph.position(maker) + 1].append(tensor)
        if tensor.name not in results:
            stops[graph.position(readers[-1]) + 1].append(tensor)
    yield from zip(starts, stops, strict=True)


def _returned(problem: Problem) -> list[int]:
    """Bytes of the outputs that come back over the downlink from each prefix."""
    graph = problem.graph
    made_by = [0] * len(graph.layers)
    if problem.result_at == "edge":
        for name in dict.fromkeys(graph.outputs):
            maker = graph.producer[name]
            if maker is not None:
                made_by[graph.position(maker)] += graph.tensor[name].size_bytes
    return list(accumulate(reversed(made_by), initial=0))[::-1]
