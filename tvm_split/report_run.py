"""A run or a measurement for people: predicted beside measured, outputs, a board's tensors beside the twin's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tvm_split.report import table
from tvm_split.units import capital, seconds

if TYPE_CHECKING:
    import numpy as np

    from tvm_split.comparison import Stage


def comparison(stages: Sequence[Stage]) -> Table:
    """Each stage as predicted and as measured, with the prediction's error where both are of one thing."""
    rows = [(stage.stage, seconds(stage.predicted_s), seconds(stage.measured_s), _error(stage)) for stage in stages]
    return table("predicted beside measured", ("stage", "predicted", "measured", "error"), rows)


def comparison_notes(stages: Sequence[Stage]) -> list[str]:
    """What the table cannot say: which stages ran elsewhere than they were predicted for, which were not measured."""
    lines = []
    timed = [stage for stage in stages if stage.measured_on and (stage.predicted_s or stage.measured_s)]
    elsewhere = [stage for stage in timed if stage.basis == "elsewhere"]
    for place in dict.fromkeys(stage.measured_on for stage in elsewhere):
        here = [stage for stage in elsewhere if stage.measured_on == place]
        names = ", ".join(
            f"{stage.stage} {'' if i else 'is predicted '}for {stage.predicted_for}" for i, stage in enumerate(here)
        )
        were = {1: "it was", 2: "both were"}.get(len(here), "all were")
        lines.append(f"{names}; {were} measured on {place}, which says nothing of the prediction.")
    computed = [stage.stage for stage in timed if stage.basis == "computed"]
    if computed:
        lines.append(f"Computed from the link's rate, not measured: {', '.join(computed)}.")
    return [capital(line) for line in lines]


def _error(stage: Stage) -> str:
    """In percent, or as a factor where percent would say little; a short stage's difference; "" without any."""
    if stage.difference_s is None:
        return ""
    if stage.error_percent is None:
        return f"{'+' if stage.difference_s >= 0 else '-'}{seconds(abs(stage.difference_s))}"
    if stage.error_percent < 900:
        return f"{round(stage.error_percent):+d} %"
    return f"{stage.predicted_s / stage.measured_s:.0f}x"


def top_classes(array: np.ndarray, count: int = 5) -> list[dict[str, float | int]] | None:
    """Index and score of the largest elements when the array is one row of at least ten scores; None otherwise."""
    if array.dtype.kind not in "fiu" or array.ndim == 0 or array.size != array.shape[-1] or array.size < 10:
        return None
    row = array.reshape(-1)
    order = row.argsort(kind="stable")[::-1][:count]
    return [{"class": int(i), "score": float(row[i])} for i in order]


def output_line(name: str, array: np.ndarray) -> str:
    """An output in one line: its best classes, or its range."""
    shape = "x".join(map(str, array.shape)) or "scalar"
    best = top_classes(array)
    if best is not None:
        listed = ", ".join(f"{item['class']} ({item['score']:.4g})" for item in best)
        return f"{name} {array.dtype} {shape}: top-5 classes by index (score): {listed}"
    if array.size == 0:
        return f"{name} {array.dtype} {shape}: empty"
    return f"{name} {array.dtype} {shape}: {array.min():.4g} to {array.max():.4g}, mean {array.mean():.4g}"


def check_line(check: Mapping[str, Any]) -> str:
    """One tensor from the board beside the same from this machine's twin."""
    same = f"{check['tensor']} at {check['bits']} bits: "
    if not check["differing"]:
        return same + f"all {check['elements']} elements equal the twin's"
    unit = "quantisation steps" if check["unit"] == "steps" else "in value"
    largest = check["max_difference"]
    by = "some are not finite" if largest is None else f"by at most {largest:.4g} {unit}"
    return f"{same}{check['differing']} of {check['elements']} elements differ from the twin's, {by}"
