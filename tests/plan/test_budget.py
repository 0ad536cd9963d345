"""The search over limits against made-up plans whose losses are known: what it finds, and how few it measures."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.plan.budget import MEASUREMENTS, NEAR, Answer, finest, search
from tvm_split.plan.precision import Precision


class Plans:
    """Plans by distortion: the coarser the sooner. A limit is answered with the coarsest within it."""

    def __init__(self, distortions, allowed, least=0.0):
        self.distortions, self.allowed, self.least = sorted({0.0, *distortions}), allowed, least
        self.measured, self.limits = [], []

    def __call__(self, limit):
        self.limits.append(limit)
        if limit is not None and limit < self.least:
            return None
        within = [d for d in self.distortions if d >= self.least and (limit is None or d <= limit)]
        if not within:
            return None
        found = within[-1]
        is_new = found > 0 and found not in self.measured
        if is_new:
            self.measured.append(found)
        return Answer(found, found == 0 or self.allowed(found), is_new)


POSITIVE = st.floats(1e-9, 1e6)


@given(st.lists(POSITIVE, min_size=1, max_size=30), POSITIVE)
def test_with_measurements_enough_it_finds_the_coarsest_that_is_allowed(distortions, most):
    plans = Plans(distortions, lambda d: d <= most)
    limit = search(plans, min(distortions), measurements=100)
    allowed = [d for d in plans.distortions if d <= most]
    if limit is None:
        assert max(distortions) <= most and plans.limits == [None]
        return
    coarsest = allowed[-1]
    found = max(d for d in plans.distortions if d <= limit)
    assert found <= coarsest, "what is found is allowed"
    refused = min(d for d in plans.measured if not plans.allowed(d))
    assert found == coarsest or refused / coarsest <= NEAR, "what is missed is near to what was refused"
    assert len(set(plans.measured)) == len(plans.measured)


@given(st.lists(POSITIVE, min_size=1, max_size=50), st.integers(0, 1000), st.integers(1, 6))
def test_it_never_measures_more_than_it_may_and_what_it_returns_was_allowed(distortions, seed, measurements):
    """Losses that do not rise with the distortion, too."""
    plans = Plans(distortions, lambda d: hash((d, seed)) % 2 == 0)
    limit = search(plans, min(distortions), measurements)
    assert len(plans.measured) <= measurements
    found = max(d for d in plans.distortions if limit is None or d <= limit)
    assert found == 0 or plans.allowed(found)
    assert len(plans.limits) <= measurements + 12, "planning is bounded by the ratio of the ends"


@given(st.lists(POSITIVE, min_size=2, max_size=30), st.data())
def test_limits_that_nothing_keeps_are_too_fine(distortions, data):
    least = data.draw(st.sampled_from(distortions))
    plans = Plans(distortions, lambda d: d <= max(distortions) / 2, least)
    limit = search(plans, min(distortions), 100)
    assert limit is None or limit == 0 or limit >= least


@settings(max_examples=20)
@given(st.integers(1, 40))
def test_by_default_five_are_measured(count):
    plans = Plans([2.0**i for i in range(count)], lambda d: d <= 8)
    limit = search(plans, 1.0)
    assert len(plans.measured) <= MEASUREMENTS
    if count > 5:
        assert 1 <= limit < 16


def test_by_hand():
    plans = Plans([1.0, 4.0, 16.0, 64.0], lambda d: d <= 4)
    limit = search(plans, 1.0)  # 64 no; 8 yes (4); 22.6 no (16); 11.3, 13.5 and 14.7 yes (4 again)
    assert 16 / NEAR <= limit < 16
    assert plans.limits[:2] == [None, 8.0] and plans.measured == [64, 4, 16]


def test_nothing_to_search_where_nothing_is_quantised_or_even_the_finest_loses_too_much():
    plans = Plans([], lambda d: False)
    assert search(plans, 0.0) is None
    plans = Plans([3.0], lambda d: False)
    assert search(plans, 3.0) == 0 and plans.measured == [3.0]
    assert search(lambda limit: None, 1.0) is None


def test_the_finest_is_the_least_of_all_tables():
    precision = Precision((8, 32), {"a": (1, 1)}, {"a": {8: 0.5, 4: 2.0}}, {"t": {8: 0.25, 16: 0.0}})
    assert finest(precision) == 0.25
    assert finest(Precision((32,), {}, {}, {})) == 0 and not math.isinf(finest(precision))
