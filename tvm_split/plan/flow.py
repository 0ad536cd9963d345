"""The network of links whose minimum cut is the best cut (DADS, Hu et al., INFOCOM 2019, section IV), repaired.

    source -> v           cloud seconds of v, and the downlink of the results it makes    cut: v runs in the cloud
    v -> sink             edge seconds of v                                               cut: v runs on the edge
    maker -> t -> reader  seconds of tensor t to pack, send and unpack, then infinite: once, however many read it
    reader -> maker       infinite: no edge layer reads from the cloud

Three things differ from the paper. It lacks the links reader -> maker, without which data flows back for free and the
cheapest cut may be illegal. It does not hold the input on the edge, so that cloud-only sends nothing. And its auxiliary
vertices belong to layers; here they belong to tensors, as a layer may make several and the input may be read by many.

Capacities are whole picoseconds: the answer is exact for seconds rounded to 1e-12.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import networkx as nx
from networkx.algorithms.flow import boykov_kolmogorov

from tvm_split.graph import Tensor
from tvm_split.plan.evaluate import crossing_of
from tvm_split.plan.problem import Problem
from tvm_split.plan.sending import packed_elements

TICKS_PER_S = 10**12
SOURCE, SINK, FIRST_TENSOR = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Prices:
    """Ticks by position of the layer, or by tensor. Half round trips are not in it: they are not a sum over links.

    up: what a tensor costs on its way to the cloud, packed and unpacked as well. down: what a layer's results cost on
    their way back. results: tensors that are wanted in the cloud.
    """

    edge: tuple[int, ...]
    cloud: tuple[int, ...]
    down: tuple[int, ...]
    up: Mapping[str, int]
    results: frozenset[str]


def ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_S)


def prices(problem: Problem, bits: int) -> Prices:
    """What `evaluate` would charge, floating-point tensors crossing at `bits`. O(layers + tensors)."""
    graph, link = problem.graph, problem.link
    down = [0.0] * len(graph.layers)
    for name in dict.fromkeys(graph.outputs):
        maker = graph.producer[name]
        if maker is not None and problem.result_at == "edge":
            down[graph.position(maker)] += graph.tensor[name].size_bytes / link.down_bytes_per_s

    def up_s(tensor: Tensor) -> float:
        packed = packed_elements(graph, [tensor.name])
        sent_s = crossing_of(problem, tensor, bits).size_bytes / link.up_bytes_per_s
        return sent_s + problem.edge.crossing_s(packed) + problem.cloud.crossing_s(packed)

    return Prices(
        edge=tuple(ticks(problem.edge.of(layer.name)) for layer in graph.layers),
        cloud=tuple(ticks(problem.cloud.of(layer.name)) for layer in graph.layers),
        down=tuple(map(ticks, down)),
        up={tensor.name: ticks(up_s(tensor)) for tensor in graph.tensors},
        results=frozenset(graph.outputs) if problem.result_at == "cloud" else frozenset(),
    )


def min_cut_layers(
    problem: Problem,
    price: Prices,
    forced_edge: Collection[str] = (),
    forced_cloud: Collection[str] = (),
    first: int = 0,
    last: int | None = None,
    published: bool = False,
) -> frozenset[str]:
    """The cheapest edge side among positions first..last-1, when all before run on the edge and all from `last` on not.

    Of equally cheap sides, the one with fewest layers. With `published`, the paper's graph without the links
    reader -> maker: its answer may be illegal, and only a test wants it. One maximum flow (Boykov and Kolmogorov,
    networkx) on at most layers + tensors vertices: O(vertices^2 * links * flow) on paper, about linear in practice.
    """
    graph = problem.graph
    last = len(graph.layers) if last is None else last
    capacity: defaultdict[tuple[int, int], int] = defaultdict(int)
    always: set[tuple[int, int]] = set()
    for i in range(first, last):
        edge, cloud = price.edge[i], price.cloud[i] + price.down[i]
        capacity[SOURCE, i] += cloud - min(edge, cloud)
        capacity[i, SINK] += edge - min(edge, cloud)
        name = graph.layers[i].name
        if name in forced_edge:
            always.add((SOURCE, i))
        if name in forced_cloud:
            always.add((i, SINK))
    here = (name for layer in graph.layers[first:last] for name in (*layer.inputs, *layer.outputs))
    for k, name in enumerate(dict.fromkeys(here)):
        layer_of = graph.producer[name]
        maker = SOURCE if layer_of is None or graph.position(layer_of) < first else graph.position(layer_of)
        readers = [graph.position(reader) for reader in graph.readers[name]]
        inside = [reader for reader in readers if first <= reader < last]
        if maker != SOURCE and not published:
            always.update((reader, maker) for reader in inside)
        if name in price.results or (readers and readers[-1] >= last):
            if maker != SOURCE:
                capacity[maker, SINK] += price.up[name]
        elif len(inside) == 1:
            capacity[maker, inside[0]] += price.up[name]
        elif inside:
            capacity[maker, FIRST_TENSOR - k] += price.up[name]
            always.update((FIRST_TENSOR - k, reader) for reader in inside)
    links = nx.DiGraph()
    links.add_nodes_from((SOURCE, SINK))
    links.add_edges_from((u, v, {"capacity": size}) for (u, v), size in capacity.items() if size)
    links.add_edges_from((u, v, {"capacity": float("inf")}) for u, v in always)
    residual = boykov_kolmogorov(links, SOURCE, SINK)
    return frozenset(graph.layers[i].name for i in _reachable(residual) if i >= 0)


def _reachable(residual: nx.DiGraph) -> set[int]:
    seen = {SOURCE}
    waiting = [SOURCE]
    while waiting:
        for v, link in residual[waiting.pop()].items():
            if v not in seen and link["flow"] < link["capacity"]:
                seen.add(v)
                waiting.append(v)
    return seen
