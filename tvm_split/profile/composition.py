"""From layers timed alone to a half timed whole: what a sum of layers leaves out.

A layer timed alone in a loop finds its weights and its data in the caches, and nobody calls it. In a half, each call
costs the virtual machine and the threads something, weights come from further away, tensors were written by others.
So a half takes

    scale * sum of layers + per_layer * layers + per_weight_byte * weights + per_moved_byte * traffic
        + per_code * elements packed

with numbers that are not negative, fitted to halves timed whole, so that the relative errors' sizes add up to the least
(least absolute deviations: a half with a layer whose time is wrong does not bend the others). Every term is a sum over
layers or crossing tensors: planners that add up costs stay exact. No TVM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.optimize import linprog

from tvm_split.costs import INTERVAL, Costs
from tvm_split.errors import CostError
from tvm_split.graph import Graph
from tvm_split.profile.records import HalfRecord
from tvm_split.profile.roofline import moved_bytes, moved_code_bytes, weight_bytes, weight_code_bytes

#: fewer halves cannot fix as many numbers
FEWEST = 8
#: what none of a composition's numbers is more than
MOST = 1e3


@dataclass(frozen=True, slots=True)
class Composition:
    """scale has no unit; the others are seconds a layer, a byte of weights, a byte moved, an element (un)packed."""

    scale: float = 1.0
    per_layer_s: float = 0.0
    per_weight_byte_s: float = 0.0
    per_moved_byte_s: float = 0.0
    per_code_s: float = 0.0

    def half_s(self, half: HalfRecord, alone_s: Mapping[str, float]) -> float:
        """Seconds of a half. alone_s: those of its layers alone, by key."""
        return float(np.dot(astuple(self), _terms(half, alone_s)))

    def costs(self, costs: Costs, graph: Graph, on_integers: bool = False) -> Costs:
        """Costs of layers alone -> of layers within a half, and so their intervals, and of what it packs or unpacks."""
        weights, moved = (weight_code_bytes, moved_code_bytes) if on_integers else (weight_bytes, moved_bytes)
        more = {
            layer.name: self.per_layer_s + self.per_weight_byte_s * weights(layer)
            + self.per_moved_byte_s * moved(graph, layer)
            for layer in graph.layers if layer.name in costs.layer_s
        }  # fmt: skip
        provenance = dict(costs.provenance)
        if INTERVAL in provenance:
            provenance[INTERVAL] = {
                name: [self.scale * end + added for end in costs.ends_of(name)] for name, added in more.items()
            }
        layer_s = {name: self.scale * costs.of(name) + added for name, added in more.items()}
        return replace(costs, layer_s=layer_s, per_crossing_element_s=self.per_code_s, provenance=provenance)

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Composition:
        """CostError when a number is missing, none, negative, or more than any device's."""
        names = [field.name for field in fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise CostError(f"the composition of layers is {data!r:.80}; expected {', '.join(names)}")
        for name, value in data.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
                raise CostError(f"{name} of the composition is {value!r:.40}; expected a number from 0 to {MOST:g}")
        return cls(**{name: float(value) for name, value in data.items()})


def fit(
    halves: Sequence[HalfRecord], alone_s: Mapping[str, float], predicted: Mapping[str, float] | None = None
) -> tuple[Composition, list[float]]:
    """The composition that fits the halves, and the relative error of each when its network was held back.

    alone_s: seconds of layers alone, by key, as timed. predicted: the same as predicted, which the errors are then of;
    without it they are of composing alone. CostError with fewer than FEWEST halves, or fewer than two networks.
    """
    networks = sorted({half.network for half in halves})
    if len(halves) < FEWEST or len(networks) < 2:
        raise CostError(
            f"{len(halves)} halves of {len(networks)} networks were timed; expected {FEWEST} or more, of 2 or more: "
            "give the profile more time, or more networks"
        )
    errors = [0.0] * len(halves)
    for network in networks:
        found = _fitted([half for half in halves if half.network != network], alone_s)
        for i, half in enumerate(halves):
            if half.network == network:
                errors[i] = found.half_s(half, alone_s if predicted is None else predicted) / half.seconds - 1
    return _fitted(halves, alone_s), errors


def _fitted(halves: Sequence[HalfRecord], alone_s: Mapping[str, float]) -> Composition:
    """Least absolute relative errors, by a linear program over the numbers and each half's error. Columns are scaled to
    one size: bytes and seconds differ by 10^10."""
    rows = np.array([np.array(_terms(half, alone_s)) / half.seconds for half in halves])
    size = np.maximum(rows.max(axis=0), 1e-30)
    (count, terms), each = rows.shape, np.eye(len(halves))
    found = linprog(
        np.repeat([0.0, 1.0], (terms, count)),
        A_ub=np.block([[rows / size, -each], [-rows / size, -each]]),
        b_ub=np.repeat([1.0, -1.0], count),
    )  # every number is 0 or more where nothing else is said
    if not found.success:
        raise CostError(f"{count} halves' times fit no composition of layers ({found.message}); profile them anew")
    return Composition(*(max(float(value), 0.0) for value in found.x[:terms] / size))


def _terms(half: HalfRecord, alone_s: Mapping[str, float]) -> tuple[float, ...]:
    layers_s = sum(alone_s[key] for key in half.keys)
    return layers_s, len(half.keys), half.weight_bytes, half.moved_bytes, half.crossing
