import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import CostError
from tvm_split.profile.noise import FEWEST, ROUNDS, Timed, in_rounds, refusal


def rounds_of(*seconds):
    """Something that takes so long, round by round."""
    left = iter(seconds)
    return lambda: [next(left)]


def test_rounds_are_taken_until_the_median_is_known():
    found = in_rounds({"quiet": rounds_of(1.0, 1.01, 1.02), "busy": rounds_of(1.0, 3.0, 1.1, 1.0, 1.05, 1.0)})
    assert found["quiet"] == Timed.of([1.0, 1.01, 1.02]) and found["quiet"].seconds == 1.01
    assert found["busy"].seconds == 1.05 and not found["busy"].noisy


def test_rounds_go_over_everything_so_that_repeats_lie_apart():
    order = []
    in_rounds({name: lambda name=name: order.append(name) or [1.0] for name in "abc"})
    assert order == [*"abc"] * FEWEST


def test_what_stays_noisy_is_told_by_how_far_off_it_may_be():
    found = in_rounds({"layer": rounds_of(*(float(i % 2 + 1) for i in range(ROUNDS)))})
    assert found["layer"].seconds == 1.5 and found["layer"].spread == pytest.approx(1 / 1.5 / 10**0.5)
    assert "layer 'a' was timed 10 times" in refusal("layer 'a'", found["layer"])
    assert "error of about 21%; expected at most 10%" in refusal("layer 'a'", found["layer"])


def test_a_round_is_the_median_of_its_repeats():
    assert in_rounds({"a": lambda: [9.0, 1.0, 2.0]})["a"].seconds == 2.0


def test_what_cannot_be_timed_is_an_answer_and_the_rest_goes_on():
    def broken():
        raise CostError("no such kernel")

    found = in_rounds({"broken": broken, "right": rounds_of(1.0, 1.0, 1.0)})
    assert str(found["broken"]) == "no such kernel" and found["right"].seconds == 1.0


def test_what_there_is_no_time_for_is_missing():
    calls = iter([True] * 7)
    found = in_rounds({"a": rounds_of(1.0, 1.0, 1.0), "b": rounds_of(1.0, 1.0)}, go_on=lambda: next(calls, False))
    assert set(found) == {"a"}


@pytest.mark.parametrize("rounds", [[], [0.0], [-1.0, -1.0]])
def test_what_is_no_time_is_refused(rounds):
    with pytest.raises(CostError):
        Timed.of(rounds)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=9), st.floats(0.5, 100))
def test_spread_has_no_unit(rounds, factor):
    found, scaled = Timed.of(rounds), Timed.of([factor * each for each in rounds])
    assert scaled.seconds == pytest.approx(factor * found.seconds) and scaled.spread == pytest.approx(found.spread)
    assert min(rounds) <= found.seconds <= max(rounds) * (1 + 1e-9) and 0 <= found.spread


def test_rounds_begin_apart():
    begun = []
    in_rounds({"a": lambda: begun.append(time.monotonic()) or [1.0]}, apart_s=0.05)
    assert len(begun) == FEWEST and min(b - a for a, b in itertools.pairwise(begun)) >= 0.05
