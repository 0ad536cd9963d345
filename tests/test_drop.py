"""Intervals of a drop: their true coverage, counted over every outcome; what is said where nothing can be told."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tvm_split.drop import LEVEL, drop_of, no_drop, of_counts, samples_needed


@pytest.mark.parametrize("samples", [7, 25])
@pytest.mark.parametrize(
    ("lost", "gained"), [(0.0, 0.0), (0.02, 0.0), (0.05, 0.03), (0.2, 0.1), (0.5, 0.1), (0.1, 0.4)]
)
def test_the_interval_holds_the_true_drop_as_often_as_it_says(samples: int, lost: float, gained: float) -> None:
    """Over all outcomes (a lost, b gained) with their chances, not over some random ones."""
    rest = 1 - lost - gained
    covered = sum(
        stats.multinomial.pmf([a, b, samples - a - b], samples, [lost, gained, rest])
        for a in range(samples + 1)
        for b in range(samples + 1 - a)
        if of_counts(a, b, samples)[0] <= lost - gained <= of_counts(a, b, samples)[1]
    )
    assert covered >= LEVEL - 0.03


def test_numbers_by_hand() -> None:
    found = drop_of("top1", [1, 1, 1, 0], [1, 0, 0, 1])
    assert (found.float_score, found.score, found.drop, found.lost, found.gained) == (0.75, 0.5, 0.25, 2, 1)
    wilson = [stats.binomtest(k, 4).proportion_ci(0.95, method="wilson") for k in (2, 1)]
    lost, gained = 0.5 - wilson[0].low, wilson[1].high - 0.25
    correlation = -math.sqrt(0.5 * 0.25 / (0.5 * 0.75))
    assert found.low == pytest.approx(0.25 - math.sqrt(lost**2 + gained**2 - 2 * correlation * lost * gained))
    lost, gained = wilson[0].high - 0.5, 0.25 - wilson[1].low
    assert found.high == pytest.approx(0.25 + math.sqrt(lost**2 + gained**2 - 2 * correlation * lost * gained))
    assert found.to_json() == {
        "metric": "top1", "samples": 4, "float": 0.75, "measured": 0.5, "drop": 0.25, "low": found.low,
        "high": found.high, "level": 0.95,
    }  # fmt: skip


def test_agreement_can_only_be_lost() -> None:
    found = drop_of("agreement", [1] * 10, [1] * 10, one_sided=True)
    assert (found.drop, found.low) == (0, 0) and found.high == pytest.approx(0.2775, abs=1e-3)
    assert drop_of("top1", [1] * 10, [1] * 10).low == pytest.approx(-found.high)


def test_nothing_that_was_lost_on_few_samples_is_no_proof() -> None:
    widths = [drop_of("top1", [1] * n, [1] * n).width for n in (1, 4, 16, 64, 256)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 1.5 and widths[-1] < 0.04


def test_other_scores_have_students_interval() -> None:
    reference, scores = [0.9, 0.8, 0.7, 0.95], [0.85, 0.8, 0.6, 0.9]
    found = drop_of("mine:iou", reference, scores)
    difference = np.subtract(reference, scores)
    half = stats.t.ppf(0.975, 3) * difference.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((difference.mean() - half, difference.mean() + half))
    assert (found.lost, found.gained) == (None, None)
    assert samples_needed(found, found.width / 3) == 36 and samples_needed(found, 1.0) == 4


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.25]])
def test_without_spread_there_is_no_interval(scores: list[float]) -> None:
    found = drop_of("mine:iou", [score + 0.25 for score in scores], scores)
    assert (found.low, found.high, found.width) == (None, None, math.inf)
    assert found.drop == 0.25 and samples_needed(found, 0.01) is None


def test_an_exact_candidate_loses_nothing_for_sure() -> None:
    found = no_drop("top1", [1, 0, 1, 1])
    assert (found.drop, found.low, found.high, found.score) == (0, 0, 0, 0.75)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.data(), st.sampled_from([0.005, 0.01, 0.05, 0.3]), st.booleans())
def test_so_many_samples_are_needed(samples: int, data: st.DataObject, width: float, one_sided: bool) -> None:
    lost = data.draw(st.integers(0, samples))
    gained = 0 if one_sided else data.draw(st.integers(0, samples - lost))
    found = drop_of(
        "top1", [1] * lost + [0] * gained + [1] * (samples - lost - gained),
        [0] * lost + [1] * gained + [1] * (samples - lost - gained), one_sided,
    )  # fmt: skip
    needed = samples_needed(found, width)
    assert needed is not None and needed >= samples
    scaled = [round(count / samples * needed) for count in (lost, gained)]
    low, high = of_counts(*scaled, needed, one_sided)
    assert high - low <= width
    if needed > samples:
        fewer = [round(count / samples * (needed - 1)) for count in (lost, gained)]
        low, high = of_counts(*fewer, needed - 1, one_sided)
        assert high - low > width


def test_no_number_of_samples_proves_a_drop_of_none() -> None:
    assert samples_needed(drop_of("top1", [1, 1], [1, 0]), 0.0) is None


@pytest.mark.parametrize(("reference", "scores"), [([], []), ([1.0], [1.0, 0.0])])
def test_bad_scores(reference: list[float], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="expected as many of both"):
        drop_of("top1", reference, scores)
