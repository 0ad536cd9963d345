"""DADS in light load: the best cut of any graph as a minimum cut (Hu et al., INFOCOM 2019, section IV).

`flow.py` builds the network of links. Half a round trip, paid once if anything crosses, is no sum over links; but where
something crosses it is a constant. So the best cut is the best of three, each a smaller problem:

    1  the minimum cut                                        (right if data goes up and a result comes back)
    2  the minimum cut with every returning result's maker on the edge              (right if none comes back)
    3  the best choice of a side for each unconnected part of the graph; edge-only  (right if nothing goes up)

Without round trip, 1 alone is exact. DADS's heavy load (throughput) is not part of this planner.
"""

from __future__ import annotations

import networkx as nx

from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.flow import Prices, min_cut_layers, prices
from tvm_split.plan.lagrange import plan_exact
from tvm_split.plan.problem import Candidate, Problem


def plan_min_cut(problem: Problem) -> tuple[Candidate, ...]:
    """The best cut at each width of cut_bits, and edge-only and cloud-only where legal, soonest first.

    Exact, to a picosecond a layer, while the best cut fits memory_bytes or legal cuts are few; otherwise a heuristic
    (`lagrange.py`).
    PlanError when nothing fits. One maximum flow a width, about linear in layers in practice (`flow.py`).
    """
    return plan_exact(problem, cheapest_cuts)


def cheapest_cuts(problem: Problem, bits: int) -> list[frozenset[str]]:
    """A few legal cuts, the cheapest of all at this width among them."""
    price = prices(problem, bits)
    return cheapest_sides(problem, price, 0, len(problem.graph.layers)) + uncrossed_cuts(problem, price)


def cheapest_sides(problem: Problem, price: Prices, first: int, last: int) -> list[frozenset[str]]:
    """Cases 1 and 2 for the layers at positions first..last-1, all before on the edge and all from `last` on not."""
    graph = problem.graph
    edge, cloud = forced_sides(problem)
    found = [min_cut_layers(problem, price, edge, cloud, first, last)]
    inside = frozenset(layer.name for layer in graph.layers[first:last])
    makers = _returning(problem)
    if not problem.link.rtt_s or not makers or any(graph.position(name) >= last for name in makers):
        return found
    kept = graph.closure(makers) & inside
    if kept <= found[0] or not kept.isdisjoint(cloud):
        return found
    found.append(kept if kept == inside else min_cut_layers(problem, price, edge | kept, cloud, first, last))
    return found


def uncrossed_cuts(problem: Problem, price: Prices) -> list[frozenset[str]]:
    """Case 3: the cheapest cuts that no tensor crosses, with and without results that come back. Often edge-only alone.

    Parts of the graph that share no tensor choose their side one by one. A part that reads a network input stays on
    the edge, one that makes a result wanted in the cloud stays there. Empty when some part would
    need both. O(layers + reads).
    """
    graph = problem.graph
    if not price.results.isdisjoint(graph.inputs):
        return []
    edge, cloud = forced_sides(problem)
    shared = nx.Graph()
    for layer in graph.layers:
        shared.add_node(layer.name)
        shared.add_edges_from((layer.name, before) for before in graph.predecessors(layer.name))
    inputs = frozenset(graph.inputs)
    at_home = edge.union(layer.name for layer in graph.layers if not inputs.isdisjoint(layer.inputs))
    away = cloud.union(layer.name for layer in graph.layers if not price.results.isdisjoint(layer.outputs))
    cuts = []
    for staying in (at_home, at_home | _returning(problem)):
        chosen: set[str] = set()
        for part in nx.connected_components(shared):
            at = [graph.position(name) for name in part]
            gain = sum(price.cloud[i] + price.down[i] - price.edge[i] for i in at)
            if not part.isdisjoint(staying):
                if not part.isdisjoint(away):
                    break
                chosen |= part
            elif part.isdisjoint(away) and gain > 0:
                chosen |= part
        else:
            cuts.append(frozenset(chosen))
    return cuts


def _returning(problem: Problem) -> frozenset[str]:
    """Layers that make a result with bytes in it that is wanted at the edge."""
    graph = problem.graph
    if problem.result_at == "cloud":
        return frozenset()
    makers = (graph.producer[name] for name in graph.outputs if graph.tensor[name].size_bytes)
    return frozenset(maker for maker in makers if maker is not None)
