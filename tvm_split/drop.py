"""How much of a score is lost, and how sure that is: paired scores of the float network and of a candidate. No TVM.

    drop = mean over the samples of (float network's score - candidate's score)

Scores of 0 and 1 (top-1, agreement): Wilson's interval of the share lost and of the share gained, joined for their
difference by the method of variance estimates recovery (Zou, Donner, Statistics in Medicine 27, 2008), with the
correlation of two shares of one whole. It is honest where nothing was lost on a few samples. Other scores: Student's
interval of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

#: how sure the intervals are
LEVEL = 0.95
#: no more samples than this are ever asked for
MOST_SAMPLES = 10_000_000


@dataclass(frozen=True, slots=True)
class Drop:
    """What a candidate loses on the samples that it was checked on.

    metric: name of the score, higher is better. float_score, score: means of the float network and of the candidate.
    low, high: the drop's 95 % confidence interval; None when these samples tell none. lost, gained: samples on which
    only the float network, or only the candidate, scores 1; None for scores that are not 0 or 1. one_sided: nothing can
    be gained, as with agreement.
    """

    metric: str
    samples: int
    float_score: float
    score: float
    low: float | None
    high: float | None
    lost: int | None = None
    gained: int | None = None
    one_sided: bool = False

    @property
    def drop(self) -> float:
        return self.float_score - self.score

    @property
    def width(self) -> float:
        """Of the interval; infinite when there is none."""
        return math.inf if self.low is None or self.high is None else self.high - self.low

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric, "samples": self.samples, "float": self.float_score, "measured": self.score,
            "drop": self.drop, "low": self.low, "high": self.high, "level": LEVEL,
        }  # fmt: skip


def drop_of(metric: str, reference: Sequence[float], scores: Sequence[float], one_sided: bool = False) -> Drop:
    """The drop between the float network's scores and a candidate's, sample by sample. ValueError without samples."""
    floats, others = np.asarray(reference, np.float64), np.asarray(scores, np.float64)
    if not len(floats) or floats.shape != others.shape:
        raise ValueError(f"{len(floats)} and {len(others)} scores; expected as many of both, and at least 1")
    means = (float(floats.mean()), float(others.mean()))
    if np.isin(floats, (0, 1)).all() and np.isin(others, (0, 1)).all():
        lost, gained = int((floats > others).sum()), int((floats < others).sum())
        low, high = of_counts(lost, gained, len(floats), one_sided)
        return Drop(metric, len(floats), *means, low, high, lost, gained, one_sided)
    if len(floats) < 2 or np.ptp(floats - others) == 0:  # no spread to tell from
        return Drop(metric, len(floats), *means, None, None)
    found = stats.ttest_1samp(floats - others, 0.0).confidence_interval(LEVEL)
    return Drop(metric, len(floats), *means, float(found.low), float(found.high))


def no_drop(metric: str, reference: Sequence[float]) -> Drop:
    """Of a candidate that computes what the float network does: known without a doubt."""
    mean = float(np.mean(reference))
    return Drop(metric, len(reference), mean, mean, 0.0, 0.0, 0, 0)


@cache
def of_counts(lost: int, gained: int, samples: int, one_sided: bool = False) -> tuple[float, float]:
    """The interval of (lost - gained) / samples."""
    least_lost, most_lost = _wilson(lost, samples)
    if one_sided:
        return least_lost, most_lost
    least_gained, most_gained = _wilson(gained, samples)
    a, b = lost / samples, gained / samples
    together = 2 * math.sqrt(a * b / ((1 - a) * (1 - b))) if a and b else 0.0

    def joined(one: float, other: float) -> float:
        return math.sqrt(one * one + other * other + together * one * other)

    low = a - b - joined(a - least_lost, most_gained - b)
    high = a - b + joined(most_lost - a, b - least_gained)
    return max(low, -1.0), min(high, 1.0)


def _wilson(count: int, samples: int) -> tuple[float, float]:
    found = stats.binomtest(count, samples).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def samples_needed(drop: Drop, width: float) -> int | None:
    """How many samples make the interval this narrow, if they are as those checked; None when none do, or nobody knows.

    O(log of the answer) intervals.
    """
    if width <= 0 or math.isinf(drop.width):
        return None
    if drop.lost is None or drop.gained is None:
        return math.ceil(drop.samples * max(1.0, (drop.width / width) ** 2))
    shares = (drop.lost / drop.samples, drop.gained / drop.samples)

    def narrow(count: int) -> bool:
        low, high = of_counts(*(round(share * count) for share in shares), count, drop.one_sided)
        return high - low <= width

    few, many = drop.samples, drop.samples
    while not narrow(many):
        few, many = many, 2 * many
        if many > MOST_SAMPLES:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if narrow(middle) else (middle, many)
    return many
