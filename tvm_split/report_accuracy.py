"""The columns of a plan's table that say what an answer loses: float, predicted and measured accuracy, and the drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tvm_split.metrics import AGREEMENT
from tvm_split.units import score

if TYPE_CHECKING:
    from tvm_split.choice import Scored, Tolerance
    from tvm_split.drop import Drop

TITLES = {"top1": "top-1", "top5": "top-5"}

#: heading -> the cell of a row
Columns = dict[str, "Callable[[Scored], str]"]


def columns(scored: Sequence[Scored]) -> Columns:
    """Of the metric, where one was measured; of the outputs' relative error where there is none.

    The float network's accuracy is left out of agreement, which it is by definition; predictions where there are none.
    """
    checked = [item.accuracy for item in scored if item.accuracy is not None]
    drops = [accuracy.drop for accuracy in checked if accuracy.drop is not None]
    if not drops:
        return {"relative error" if checked else "outputs": error}
    metric, floats = drops[0].metric, drops[0].float_score
    title = TITLES.get(metric, metric)

    def predicted(item: Scored) -> str:
        if item.predicted_drop is None:
            return ""
        return score(min(1.0, max(0.0, floats - item.predicted_drop)), metric)  # only shares are predicted

    def measured(item: Scored) -> str:
        drop = _drop(item)
        return score(floats if drop is None else drop.score, metric)

    found: Columns = {} if metric == AGREEMENT else {f"float {title}": lambda _: score(floats, metric)}
    if any(item.predicted_drop is not None for item in scored):
        found["predicted"] = predicted
    return found | {title if metric == AGREEMENT else "measured": measured, "drop, 95 % sure": lost}


def error(item: Scored) -> str:
    """The outputs' relative error; "exact" when they are the float network's."""
    if item.accuracy is None or item.accuracy.max_abs_error == 0:
        return "exact"
    return f"{item.accuracy.relative_error:.2g}"


def lost(item: Scored) -> str:
    """The drop and its interval: "1.2 % (-0.4 % to 3 %)"; "exact" when the outputs are the float network's."""
    drop = _drop(item)
    if item.accuracy is None or drop is None or item.accuracy.max_abs_error == 0:
        return "exact"
    if drop.low is None or drop.high is None:
        return f"{score(drop.drop, drop.metric)} (unknown)"
    low, high = (score(bound, drop.metric) for bound in (drop.low, drop.high))
    return f"{score(drop.drop, drop.metric)} ({low} to {high})"


def refusal(item: Scored, tolerance: Tolerance) -> str:
    """Why what it loses is too much."""
    drop = _drop(item)
    if drop is None:
        return f"its outputs' relative error ({error(item)}) is above what you allow ({tolerance.max_error:g})"
    title, allowed = TITLES.get(drop.metric, drop.metric), score(tolerance.max_drop, drop.metric)
    return f"its {title} drops by {lost(item)}, more than you allow ({allowed})"


def _drop(item: Scored) -> Drop | None:
    return None if item.accuracy is None else item.accuracy.drop
