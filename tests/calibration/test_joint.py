"""Ranges chosen together: never worse than one method for all, and the best of each where tensors do not interact."""

import numpy as np
import pytest

from tvm_split.calibration.joint import joint_choices
from tvm_split.calibration.ranges import METHODS, range_by
from tvm_split.calibration.statistics import Statistics

RANDOM = np.random.default_rng(0)
STATISTICS = {
    "gauss": Statistics.of(RANDOM.normal(0, 1, 5000).astype("f")),
    "heavy": Statistics.of(RANDOM.standard_t(2, 5000).astype("f")),
    "relu": Statistics.of(np.maximum(RANDOM.laplace(0, 1, 5000), 0).astype("f")),
    "constant": Statistics.of(np.full(5, 2.5, np.float32)),
}
BITS = {"gauss": 4, "heavy": 3, "relu": 2, "constant": 4}
FOUND = [{name: range_by(m, STATISTICS[name], bits) for name, bits in BITS.items()} for m in METHODS]


def clipped(choices):
    """A loss that likes the heavy tensor whole and the others narrow."""
    return sum(c.high - c.low for n, c in choices.items() if n != "heavy") + 5 / (choices["heavy"].high + 1)


def test_never_worse_than_one_method_for_all():
    first = joint_choices(FOUND, clipped)
    assert clipped(first) == min(map(clipped, FOUND))
    assert first in FOUND
    swept = joint_choices(FOUND, clipped, sweeps=3)
    for name, choice in swept.items():
        best = (max if name == "heavy" else min)(each[name].high - each[name].low for each in FOUND)
        assert choice.high - choice.low == best
    assert clipped(swept) < clipped(first)


def test_it_stops_when_nothing_changes_and_tries_no_range_twice():
    calls = []

    def loss(choices):
        calls.append(dict(choices))
        return sum(choice.mse for choice in choices.values())

    found = joint_choices(FOUND, loss, sweeps=9)
    assert found["relu"].mse == min(range_by(m, STATISTICS["relu"], 2).mse for m in METHODS)
    assert found["constant"].low == found["constant"].high == 2.5
    assert len(calls) <= len(METHODS) + 2 * 3 * (len(METHODS) - 1)  # the constant tensor has but one range


def test_one_range_for_all_is_not_tried():
    assert joint_choices([FOUND[0], dict(FOUND[0])], lambda _choices: pytest.fail("a run"), sweeps=2) == FOUND[0]


def test_equal_losses_keep_the_first():
    assert joint_choices(FOUND, lambda _choices: 1.0, sweeps=2) == FOUND[0]
