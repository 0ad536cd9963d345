"""QDMP-style: minimum cuts between neighbouring cut vertices only (Zhang et al., IMWUT 2020).

    cut vertex   a layer that every way from a source to a sink passes: no dependency jumps over it in the layers' order
    segment      the layers between two neighbouring cut vertices c, d. Every legal cut has its last cut vertex c on the
                 edge and d in the cloud, hence all before c on the edge, all after d in the cloud, and a choice between
    bound        edge_s up to c + cloud_s from d + min(edge_s, cloud_s) of each layer between + the smallest tensor made
                 in [c, d) + the downlink of results made from d on: no cut of the segment is cheaper

The cuts at cut vertices are priced first; a segment is solved only when its bound is below the best answer so far. The
paper's own link weights and first stage are not public: this is a reconstruction whose best answer is `min_cut`'s.
"""

from __future__ import annotations

from itertools import accumulate

from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.flow import TICKS_PER_S, Prices, prices
from tvm_split.plan.lagrange import plan_exact
from tvm_split.plan.min_cut import cheapest_sides, uncrossed_cuts
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.sweep import Prefix, sweep

#: a bound is lowered by this share before it rules out a segment, for the rounding of its sums
SLACK = 1e-9


def plan_qdmp(problem: Problem) -> tuple[Candidate, ...]:
    """The best cut at each width of cut_bits, and edge-only and cloud-only where legal, soonest first.

    As exact as `plan_min_cut`, memory limit included. O(layers + reads), and a maximum flow for each segment that its
    bound does not rule out.
    """
    return plan_exact(problem, segment_cuts)


def segment_cuts(problem: Problem, bits: int) -> list[frozenset[str]]:
    """A few legal cuts, the cheapest of all at this width among them."""
    price = prices(problem, bits)
    prefixes = sweep(problem, bits)
    names = [layer.name for layer in problem.graph.layers]
    corners = cut_vertices(problem)
    segments = list(zip([0, *(at + 1 for at in corners)], [*corners, len(names)], strict=True))
    edge, cloud = forced_sides(problem)
    first_allowed = max((problem.graph.position(name) for name in edge), default=-1) + 1
    last_allowed = min((problem.graph.position(name) for name in cloud), default=len(names))
    simple = {at for segment in segments for at in segment if first_allowed <= at <= last_allowed}
    found = uncrossed_cuts(problem, price)
    best_s = min((evaluate(problem, cut, bits).predicted.total_s for cut in found), default=float("inf"))
    if simple:
        at = min(simple, key=lambda n: (prefixes[n].timing.total_s, n))
        found.append(frozenset(names[:at]))
        best_s = min(best_s, prefixes[at].timing.total_s)
    bounded = zip(_bounds(problem, price, prefixes, segments), segments, strict=True)
    for bound_s, (first, last) in sorted(bounded):
        if bound_s >= best_s:
            break
        if first == last or first_allowed > last or last_allowed < first:
            continue
        for inside in cheapest_sides(problem, price, first, last):
            found.append(inside.union(names[:first]))
            best_s = min(best_s, evaluate(problem, found[-1], bits).predicted.total_s)
    return found


def cut_vertices(problem: Problem) -> list[int]:
    """Positions of the layers that no dependency jumps over; a layer without one hangs on a source before all others,
    a layer whose result no layer reads on a sink after them. O(layers + reads)."""
    graph = problem.graph
    count = len(graph.layers)
    jumps = [0] * (count + 2)

    def jump(start: int, stop: int) -> None:
        jumps[start + 1] += 1
        jumps[stop] -= 1

    for i, layer in enumerate(graph.layers):
        before = [graph.position(name) for name in graph.predecessors(layer.name)]
        for start in before or [-1]:
            jump(start, i)
        if not any(graph.readers[name] for name in layer.outputs):
            jump(i, count)
    return [i for i, over in enumerate(accumulate(jumps[:count])) if over == 0]


def _bounds(
    problem: Problem, price: Prices, prefixes: tuple[Prefix, ...], segments: list[tuple[int, int]]
) -> list[float]:
    graph = problem.graph
    edge, cloud = (list(accumulate(side, initial=0)) for side in (price.edge, price.cloud))
    cheaper = list(accumulate(map(min, price.edge, price.cloud), initial=0))
    bounds = []
    for first, last in segments:
        layers = edge[first] + cheaper[last] - cheaper[first] + cloud[-1] - cloud[last]
        least = layers / TICKS_PER_S + prefixes[last].timing.downlink_s
        if 0 < first and last < len(graph.layers):
            made = (name for layer in graph.layers[first - 1 : last] for name in layer.outputs if graph.readers[name])
            least += problem.link.rtt_s / 2 + min(price.up[name] for name in made) / TICKS_PER_S
        bounds.append(least * (1 - SLACK))
    return bounds
