"""Which cuts are legal: what the pins force onto each side, and every downward-closed set of a small graph."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_split.errors import PlanError
from tvm_split.plan.problem import Problem

#: cuts that `every_cut` lists before it gives up
MAX_CUTS = 50_000


def forced_sides(problem: Problem) -> tuple[frozenset[str], frozenset[str]]:
    """Layers that every legal cut runs on the edge, and those it runs in the cloud.

    What a layer pinned to the edge needs is forced there too; what needs a layer pinned to the cloud follows it.
    PlanError when the pins leave no legal cut. O(layers + reads).
    """
    graph = problem.graph
    pinned = problem.pinned()
    needed_by: dict[str, str] = {}
    for layer in reversed(graph.layers):
        if pinned.get(layer.name) == "edge":
            needed_by[layer.name] = layer.name
        if layer.name not in needed_by:
            continue
        why = needed_by[layer.name]
        if pinned.get(layer.name) == "cloud":
            raise PlanError(
                f"layer '{layer.name}' is pinned to the cloud, but layer '{why}', which is pinned to the edge, needs "
                "its result; an edge layer cannot read from the cloud, so remove one of the two pins"
            )
        for before in graph.predecessors(layer.name):
            needed_by.setdefault(before, why)
    cloud: set[str] = set()
    for layer in graph.layers:
        if pinned.get(layer.name) == "cloud" or not cloud.isdisjoint(graph.predecessors(layer.name)):
            cloud.add(layer.name)
    return frozenset(needed_by), frozenset(cloud)


def legal_prefixes(problem: Problem) -> range:
    """Lengths of the prefixes of the layers' order that the pins allow. PlanError when there is none.

    Pins may allow cuts and yet no prefix: with two parallel branches, the first pinned to the cloud.
    """
    edge, cloud = forced_sides(problem)
    positions = [problem.graph.position(name) for name in edge]
    first = max(positions, default=-1) + 1
    last = min((problem.graph.position(name) for name in cloud), default=len(problem.graph.layers))
    if first > last:
        kept, away = problem.graph.layers[first - 1].name, problem.graph.layers[last].name
        raise PlanError(
            f"no prefix of the layers' order has '{kept}' on the edge and '{away}' in the cloud, as the pins demand; "
            "plan with min-cut, which is not bound to prefixes, or remove one of the pins"
        )
    return range(first, last + 1)


def every_cut(problem: Problem, limit: int = MAX_CUTS) -> Iterator[frozenset[str]]:
    """Every downward-closed set that the pins allow. PlanError when there are more than `limit`. O(layers * cuts)."""
    graph = problem.graph
    edge, cloud = forced_sides(problem)
    masks = [0]
    for i, layer in enumerate(graph.layers):
        needs = sum(1 << graph.position(name) for name in graph.predecessors(layer.name))
        grown = [] if layer.name in cloud else [mask | 1 << i for mask in masks if mask & needs == needs]
        masks = grown if layer.name in edge else masks + grown
        if len(masks) > limit:
            raise PlanError(
                f"graph '{graph.name}' ({len(graph.layers)} layers) has more than {limit} legal cuts, too many to "
                "try each; plan with min-cut, which is exact at any size, or pin layers until fewer are left"
            )
    for mask in masks:
        yield frozenset(layer.name for i, layer in enumerate(graph.layers) if mask >> i & 1)
