"""Scores of one sample's outputs, higher is better: top-1, top-5, agreement with the float network, a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_split import user_function
from tvm_split.errors import DataError, PlanError
from tvm_split.graph import Graph

#: output's name -> array, in the network's order
Outputs = Mapping[str, np.ndarray]

#: of a user's metric: sums of squares of larger ones are infinite
LARGEST = 1e100

#: metrics by name -> how many of the best classes count; a user's has the form module:function
TOP = {"top1": 1, "top5": 5}
AGREEMENT = "agreement"
NAMES = (*TOP, AGREEMENT)


@dataclass(frozen=True)
class Metric:
    """`score` of (outputs, the float network's outputs, label). one_sided: none is above the float network's own."""

    name: str
    score: Callable[[Outputs, Outputs, int | None], float]
    one_sided: bool = False


def metric_of(
    wanted: str | None, labels: np.ndarray | None, classes: int | None, places: Sequence[str] = ()
) -> Metric | None:
    """What accuracy is measured by.

    wanted: a name of NAMES or "module:function"; None for top1 where there are labels, and agreement where there are
    none. classes: of the network's first output, None when that is no row of scores; then, without a wish, there is no
    metric. places: where each label stands. PlanError: unknown, or the network gives no class scores. DataError: labels
    are missing, or beyond the classes.
    """
    if wanted is None:
        if classes is None:
            return None
        wanted = AGREEMENT if labels is None else "top1"
    if not is_metric(wanted):
        raise PlanError(f"there is no metric '{wanted}' (--metric); expected {', '.join(NAMES)} or module:function")
    if wanted not in NAMES:
        return Metric(wanted, _own(wanted))
    if classes is None:
        raise PlanError(
            f"metric '{wanted}' (--metric) needs class scores, and the first output is no single row of them; "
            "give a function of your own as module:function, or leave --metric out for --max-error"
        )
    if wanted == AGREEMENT:
        return Metric(AGREEMENT, _agrees, one_sided=True)
    if labels is None:
        raise DataError(
            f"metric '{wanted}' (--metric) needs labels, and the data has none; give a .csv of lines file,label, "
            "folders named after classes, an .npz with 'labels', or --metric agreement"
        )
    beyond = np.flatnonzero(labels >= classes)
    if len(beyond):
        first = int(beyond[0])
        place = places[first] if places else "a label"
        raise DataError(f"{place} is {labels[first]}, but the network has {classes} classes, 0 to {classes - 1}")
    return Metric(wanted, _among(TOP[wanted]))


def class_count(graph: Graph) -> int | None:
    """C when the first output is one row of scores: (..., C), C >= 2 and 1 elsewhere, of floats or 8-bit integers."""
    first = graph.tensor[graph.outputs[0]]
    is_score = first.is_float or first.dtype in ("int8", "uint8")
    is_row = is_score and bool(first.shape) and first.shape[-1] >= 2 and first.elements == first.shape[-1]
    return first.shape[-1] if is_row else None


@dataclass(frozen=True)
class Judge:
    """A metric with the class of each sample (int64, None without), and the outputs' names as a user's metric gets
    them."""

    metric: Metric
    labels: np.ndarray | None
    names: Sequence[str]

    def score(self, sample: int, reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> float:
        """Of one sample's outputs, in the order of their names."""
        found, wanted = (dict(zip(self.names, arrays, strict=True)) for arrays in (outputs, reference))
        try:
            return self.metric.score(found, wanted, None if self.labels is None else int(self.labels[sample]))
        except DataError as error:
            raise DataError(f"{error}; on sample {sample} of those checked") from error


def is_metric(name: str) -> bool:
    """Whether it is one of NAMES, or has a user's form."""
    return name in NAMES or user_function.is_function(name)


def _first(outputs: Outputs) -> np.ndarray:
    return next(iter(outputs.values())).reshape(-1)


def _agrees(outputs: Outputs, reference: Outputs, _label: int | None) -> float:
    return float(same_class(_first(reference), _first(outputs)))


def same_class(want: np.ndarray, got: np.ndarray) -> bool:
    """Whether the largest of both rows of scores is the same one; scores that are not numbers agree with nothing."""
    return not np.isnan(got).any() and int(np.argmax(want)) == int(np.argmax(got))


def _among(best: int) -> Callable[[Outputs, Outputs, int | None], float]:
    def score(outputs: Outputs, _reference: Outputs, label: int | None) -> float:
        row = _first(outputs)
        if label is None or np.isnan(row).any():
            return 0.0
        before = int((row > row[label]).sum() + (row[:label] == row[label]).sum())  # of equal scores the first is best
        return float(before < best)

    return score


def _own(source: str) -> Callable[[Outputs, Outputs, int | None], float]:
    function = user_function.loaded(source)

    def score(outputs: Outputs, _reference: Outputs, label: int | None) -> float:
        # copies: a function that works in place must not change what others are measured by
        found: Any = function({name: array.copy() for name, array in outputs.items()}, label)
        try:
            value = float(found)
        except (Exception, SystemExit) as error:  # the user's object decides what its conversion raises
            raise DataError(
                f"{source}: the metric returns {type(found).__name__}; expected one number ({error})"
            ) from None
        if not abs(value) <= LARGEST:
            raise DataError(f"{source}: the metric returns {value}; expected a finite number, at most {LARGEST:g}")
        return value

    return score
