"""What the exact planners do with their answer, and what they do when it does not fit the edge's memory.

A limit on memory is no sum over links, so it breaks the minimum cut's form. Then each legal cut is tried, if they are
few (`memory.few_cuts`: so on most networks of some hundred layers), and the answer stays exact. If they are many, as a
**heuristic**, each byte of edge weights gets a price, which keeps the form (Everett, Operations Research 1963; the
price is moved along the lower convex hull of time over weight bytes), and the cuts met on the way that fit compete with

    every prefix of the layers' order that fits, the smallest split known, edge-only and cloud-only.

Cuts off that hull may be missed: the heuristic is never later than the best prefix, and may be later than the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm_split.errors import PlanError
from tvm_split.plan.cuts import forced_sides, legal_prefixes
from tvm_split.plan.evaluate import evaluate, ranked
from tvm_split.plan.flow import Prices, min_cut_layers, prices, ticks
from tvm_split.plan.memory import does_not_fit, few_cuts, fits, smallest_split
from tvm_split.plan.problem import Candidate, Problem
from tvm_split.plan.sweep import KEEP, best_prefixes, sweep

#: minimum cuts that the search for a price may take; the hull's corner is mostly found in three to eight
ROUNDS = 12


def plan_exact(problem: Problem, solve: Callable[[Problem, int], list[frozenset[str]]]) -> tuple[Candidate, ...]:
    """Price the cuts of `solve` at each width, and edge-only and cloud-only; the heuristic if the best is too big."""
    edge, cloud = forced_sides(problem)
    sentinels = [frozenset[str]()] if not edge else []
    if not cloud:
        sentinels.append(frozenset(layer.name for layer in problem.graph.layers))
    found: list[Candidate] = []
    for bits in problem.cut_bits:
        cuts = dict.fromkeys([*solve(problem, bits), *sentinels])
        priced = ranked(evaluate(problem, cut, bits) for cut in cuts)
        found += [candidate for candidate in priced if fits(problem, candidate)]
        if not fits(problem, priced[0]):
            found += within_memory(problem, bits, priced[0])
    if not found:
        raise does_not_fit(problem, "no cut found", smallest_split(problem).edge_memory_bytes)
    return ranked(found)


def within_memory(problem: Problem, bits: int, too_big: Candidate) -> list[Candidate]:
    """Cuts that fit, when the unlimited best one does not: the best of all if they are few, else heuristic."""
    cuts = few_cuts(problem)
    if cuts is None:
        return by_byte_price(problem, bits, too_big)
    return list(ranked(found for cut in cuts if fits(problem, found := evaluate(problem, cut, bits)))[:KEEP])


def by_byte_price(problem: Problem, bits: int, too_big: Candidate) -> list[Candidate]:
    """Cuts that fit, found from the unlimited best one, which does not. Heuristic. At most ROUNDS maximum flows."""
    graph = problem.graph
    edge, cloud = forced_sides(problem)
    small = evaluate(problem, edge, bits)
    found = [small, *_prefixes(problem, bits)]
    if edge:
        found.append(evaluate(problem, smallest_split(problem).edge_layers, bits))
    inner, outer = edge, frozenset(layer.name for layer in graph.layers) - cloud
    price = prices(problem, bits)
    weights = [layer.weight_bytes for layer in graph.layers]
    for _ in range(ROUNDS):
        saved = _weight_bytes(problem, too_big) - _weight_bytes(problem, small)
        lost_s = small.predicted.total_s - too_big.predicted.total_s
        if saved <= 0 or lost_s <= 0:
            break
        byte_price = ticks(lost_s) / saved
        dearer = tuple(cost + round(byte_price * size) for cost, size in zip(price.edge, weights, strict=True))
        cut = _cut_between(problem, replace(price, edge=dearer), inner, outer)
        tried = evaluate(problem, cut, bits)
        if tried.edge_layers in (small.edge_layers, too_big.edge_layers):
            break
        if fits(problem, tried):
            small, inner = tried, cut
            found.append(tried)
        else:
            too_big, outer = tried, cut
    return [candidate for candidate in found if fits(problem, candidate)]


def _cut_between(problem: Problem, price: Prices, inner: frozenset[str], outer: frozenset[str]) -> frozenset[str]:
    """The cheapest cut that holds `inner` and lies in `outer`.

    The cuts of rising byte prices lie in each other (Gallo, Grigoriadis and Tarjan, SIAM J. Comput. 1989), so each
    round leaves less to choose.
    """
    names = [layer.name for layer in problem.graph.layers]
    first = next((i for i, name in enumerate(names) if name not in inner), len(names))
    last = max((i + 1 for i, name in enumerate(names) if name in outer), default=0)
    away = frozenset(name for name in names[first:last] if name not in outer)
    return min_cut_layers(problem, price, inner, away, first, max(first, last)).union(names[:first])


def _prefixes(problem: Problem, bits: int) -> list[Candidate]:
    try:
        allowed = legal_prefixes(problem)
    except PlanError:
        return []
    fitting = [prefix for prefix in sweep(problem, bits)[allowed.start : allowed.stop] if fits(problem, prefix)]
    return best_prefixes(problem, bits, fitting)


def _weight_bytes(problem: Problem, candidate: Candidate) -> int:
    return sum(problem.graph.layer[name].weight_bytes for name in candidate.edge_layers)
