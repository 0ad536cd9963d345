import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import CostError
from tvm_split.profile.noise import Timed, settled

QUIET, NOISY = [1.0, 1.01, 1.02, 1.03, 1.04], [1.0, 1.0, 2.0, 3.0, 3.0]


def test_a_quiet_timing_is_taken_once():
    taken = []
    found = settled(lambda: taken.append(1) or QUIET, "layer 'a'")
    assert (found.seconds, len(taken)) == (1.02, 1) and found.spread == pytest.approx(0.02 / 1.02)


def test_a_noisy_timing_is_repeated_until_it_is_quiet():
    rounds = iter([NOISY, NOISY, QUIET])
    assert settled(lambda: next(rounds), "layer 'a'").seconds == 1.02


def test_a_timing_that_stays_noisy_is_refused_with_its_spread():
    with pytest.raises(CostError, match=r"layer 'a' was timed 4 times .* spread by 100% of 2 s .* at most 15%"):
        settled(lambda: NOISY, "layer 'a'")


@pytest.mark.parametrize("repeats", [[], [0.0], [-1.0, -1.0]])
def test_what_is_no_time_is_refused(repeats):
    with pytest.raises(CostError):
        Timed.of(repeats)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=9), st.floats(0.5, 100))
def test_spread_has_no_unit(repeats, factor):
    found, scaled = Timed.of(repeats), Timed.of([factor * each for each in repeats])
    assert scaled.seconds == pytest.approx(factor * found.seconds) and scaled.spread == pytest.approx(found.spread)
    assert min(repeats) <= found.seconds <= max(repeats) and found.spread >= 0
