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
        self._matrix: Any = None

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

    def at_most(self, total: Sum, high: float) -> int:
        """total <= high; return the row's number, for `tighten`."""
        self.row(total.terms, high=high - total.constant)
        return len(self._row_high) - 1

    def tighten(self, row: int, by: float) -> None:
        """Take so much off the row's upper limit; a negative amount gives it back."""
        self._row_high[row] -= by

    def minimise(
        self, objective: Sum, fixed: Mapping[int, float], time_limit_s: float, fractions: bool = False
    ) -> Solution:
        """Solve. `fixed` holds some variables at a value, for this time only. With `fractions` no variable need be
        whole: a bound, much sooner."""
        import numpy as np  # both only here: scipy takes half a second to import, and the command line lists planners
        from scipy.optimize import Bounds, LinearConstraint, milp

        cost = np.zeros(len(self.low))
        cost[list(objective.terms)] = list(objective.terms.values())
        scale = float(np.abs(cost).sum()) / 1000.0 or 1.0  # HiGHS stops 1e-6 from the best, in absolute terms
        low, high = np.array(self.low), np.array(self.high)
        low[list(fixed)] = high[list(fixed)] = list(fixed.values())
        whole = np.zeros(len(self.low)) if fractions else np.array(self.whole)
        found = milp(
            cost / scale,
            integrality=whole,
            bounds=Bounds(low, high),
            constraints=LinearConstraint(self._rows(), self._row_low, self._row_high) if self._row_low else None,
            options={"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": 0.0},
        )
        if found.status == INFEASIBLE:
            return Solution(None, INF, True)
        bound = found.fun if fractions and found.status == OPTIMAL else found.mip_dual_bound
        if bound is None or not np.isfinite(bound):
            bound = -INF
        return Solution(found.x, bound * scale + objective.constant, found.status == OPTIMAL)

    def _rows(self) -> Any:
        """The rows as a sparse matrix, made anew when there are more of either."""
        from scipy.sparse import csr_array

        shape = (len(self._row_low), len(self.low))
        if self._matrix is None or self._matrix.shape != shape:
            self._matrix = csr_array((self._coefficients, self._columns, self._starts), shape=shape)
        return self._matrix
