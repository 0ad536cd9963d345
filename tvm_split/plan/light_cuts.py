"""Auto-Split's candidates, eq. (6): the cuts that send no more than cloud-only does, most promising first.

T_n    bytes of all that crosses, floating-point tensors at the narrowest width; T_0: the raw network input
first  the least that a cut takes, whatever its bits: each edge layer on floats or integers, which is faster, T_n's
       seconds, and the cloud's
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from tvm_split.errors import PlanError
from tvm_split.plan.cuts import legal_prefixes
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.min_cut import cheapest_cuts
from tvm_split.plan.mixed import precision_of
from tvm_split.plan.problem import Problem
from tvm_split.plan.sweep import sweep


def light_cuts(problem: Problem, paper_cuts: bool) -> Iterator[frozenset[str]]:
    """The candidates: prefixes of the layers' order, and unless paper_cuts the cuts of a minimum cut.

    PlanError when there is none. O(layers + reads), a maximum flow unless paper_cuts, and O(layers) for each cut taken.
    """
    narrowest, bits = replace(problem, precision=None), min(problem.cut_bits)
    names = [layer.name for layer in problem.graph.layers]
    prefixes = sweep(narrowest, bits)
    most = prefixes[0].payload_bytes
    gain_s = [_gain_s(problem, name) for name in names]
    gains = list(accumulate(gain_s, initial=0.0))
    found: list[tuple[float, int, frozenset[str] | None]] = []
    try:
        allowed = legal_prefixes(problem)
        found += [
            (prefixes[n].timing.total_s - gains[n], n, None) for n in allowed if prefixes[n].payload_bytes <= most
        ]
    except PlanError:
        if paper_cuts:
            raise
    gain_of = dict(zip(names, gain_s, strict=True))
    for cut in () if paper_cuts else dict.fromkeys(cheapest_cuts(narrowest, bits)):
        priced = evaluate(narrowest, cut, bits)
        if priced.payload_bytes <= most and list(priced.edge_layers) != names[: len(cut)]:
            found.append((priced.predicted.total_s - sum(gain_of[name] for name in cut), len(cut), cut))
    if not found:
        raise PlanError(
            "every split that the pins allow sends more bytes than the network input has, and auto-split tries none of "
            "these (eq. 6); plan with exact, or remove a pin"
        )
    for _, n, other in sorted(found, key=lambda entry: entry[:2]):
        yield frozenset(names[:n]) if other is None else other


def _gain_s(problem: Problem, layer: str) -> float:
    """Seconds that integers save at most."""
    return max(0.0, problem.edge.of(layer) - precision_of(problem).integer_s(layer))
