"""A linear programme with whole-number variables, built term by term and solved by HiGHS (Huangfu and Hall, 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

INF = float("inf")
#: scipy's codes of `milp`
OPTIMAL, LIMIT, INFEASIBLE = 0, 1, 2


@dataclass
class Sum:
    """constant + sum of coefficient * variable. `+=` of the same variable adds up."""

    terms: dict[int, float] = field(default_factory=dict)
    constant: float = 0.0

    def add(self, variable: int, coefficient: float) -> None:
        if coefficient:
            self.terms[variable] = self.terms.get(variable, 0.0) + coefficient

    def add_all(self, other: Sum, times: float = 1.0) -> None:
        self.constant += times * other.constant
        for variable, coefficient in other.terms.items():
            self.add(variable, times * coefficient)

    def at(self, values: Any) -> float:
        return self.constant + sum(coefficient * float(values[i]) for i, coefficient in self.terms.items())


@dataclass(frozen=True)
class Solution:
    """values: of each variable, None when none was found. bound: no solution is below it. proven: that there is none,
    or that the values are the best."""

    values: Any
    bound: float
    proven: bool


class Programme:
    """Variables and rows. Every row is low <= sum of terms <= high."""

    def __init__(self) -> None:
        self.low: list[float] = []
        self.high: list[float] = []
        self.whole: list[int] = []
        self._columns: list[int] = []
        self._coefficients: list[float] = []
        self._starts: list[int] = [0]
        self._row_low: list[float] = []
        self._row_high: list[float] = []

    def variable(self, low: float = 0.0, high: float = 1.0, whole: bool = False) -> int:
        self.low.append(low)
        self.high.append(high)
        self.whole.append(int(whole))
        return len(self.low) - 1

    def row(
        self, terms: Mapping[int, float] | Iterable[tuple[int, float]], low: float = -INF, high: float = INF
    ) -> None:
        total = Sum()
        for variable, coefficient in terms.items() if isinstance(terms, Mapping) else terms:
            total.add(variable, coefficient)
        self._columns += total.terms.keys()
        self._coefficients += total.terms.values()
        self._starts.append(len(self._columns))
        self._row_low.append(low)
        self._row_high.append(high)

    def at_most(self, total: Sum, high: float) -> None:
        self.row(total.terms, high=high - total.constant)

    def minimise(
        self, objective: Sum, fixed: Mapping[int, float], time_limit_s: float, relative_gap: float = 0.0
    ) -> Solution:
        """Solve. `fixed` holds some variables at a value, for this time only."""
        import numpy as np  # both only here: scipy takes half a second to import, and the command line lists planners
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        cost = np.zeros(len(self.low))
        cost[list(objective.terms)] = list(objective.terms.values())
        scale = float(np.abs(cost).sum()) / 1000.0 or 1.0  # HiGHS stops 1e-6 from the best, in absolute terms
        low, high = np.array(self.low), np.array(self.high)
        low[list(fixed)] = high[list(fixed)] = list(fixed.values())
        rows = csr_array((self._coefficients, self._columns, self._starts), shape=(len(self._row_low), len(self.low)))
        found = milp(
            cost / scale,
            integrality=np.array(self.whole),
            bounds=Bounds(low, high),
            constraints=LinearConstraint(rows, self._row_low, self._row_high) if self._row_low else None,
            options={"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": relative_gap},
        )
        if found.status == INFEASIBLE:
            return Solution(None, INF, True)
        bound = found.mip_dual_bound if found.mip_dual_bound is not None else found.fun
        if bound is None or not np.isfinite(bound):
            bound = -INF
        return Solution(found.x, bound * scale + objective.constant, found.status == OPTIMAL)
