"""Bits for many parts within a budget: the Lagrangian of Shoham and Gersho (IEEE Trans. ASSP 1988).

    least sum of D_i(b_i) + lambda * R_i(b_i)   is solved part by part, for R_i the bits that part i then takes;
                                                lambda falls until the budget is just met

Each part's best widths, as lambda falls, are the corners of the lower convex hull of its points (R, D). So all parts'
steps from corner to corner, steepest first, are the answers of all lambdas, and a budget takes the first of them. What
lies off the hulls is missed: the distortion is at most one step above the least.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Step:
    """From a corner to the next: `part` at `bits` costs `cost` more and loses `slope` less for each of that."""

    slope: float
    part: str
    bits: int
    cost: int


def hull_steps(part: str, points: Iterable[tuple[int, int, float]]) -> tuple[int, list[Step]]:
    """(bits, cost, distortion) of one part -> bits of its cheapest point, and the steps from there, steepest first."""
    hull: list[tuple[int, int, float]] = []
    for point in sorted(points, key=lambda point: (point[1], point[2])):
        if hull and (point[2] >= hull[-1][2] or point[1] == hull[-1][1]):
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    steps = [Step(_slope(before, after), part, after[0], after[1] - before[1]) for before, after in pairwise(hull)]
    return hull[0][0], steps


def _slope(before: tuple[int, int, float], after: tuple[int, int, float]) -> float:
    return (before[2] - after[2]) / (after[1] - before[1])


def allocate(start: Mapping[str, int], steps: Iterable[Step], parts: Collection[str], budget: int) -> dict[str, int]:
    """Bits of the parts: from `start`, the steps of these parts in the order given (steepest first) while the budget
    holds out. The budget is what may be spent beyond the start. O(steps)."""
    bits = {part: start[part] for part in start if part in parts}
    for step in steps:
        if step.part in bits:
            budget -= step.cost
            if budget < 0:
                break
            bits[step.part] = step.bits
    return bits
