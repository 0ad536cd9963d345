"""A device that others slow down, with a clock of the test's own."""

import pytest

from tvm_split.errors import CostError
from tvm_split.profile import pace
from tvm_split.profile.noise import in_rounds
from tvm_split.profile.pace import BEFORE_S, MOST_S, SHARE, Pace


class Device:
    """Its reference takes 1 ms, and 1.4 ms between the seconds of `slow`."""

    def __init__(self, *slow):
        self.now, self.slow = 0.0, slow

    def factor(self):
        return 1.4 if any(begin <= self.now < end for begin, end in self.slow) else 1.0

    def takes(self, seconds):
        made = seconds * self.factor()
        self.now += made
        return made

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def made(monkeypatch):
    def made(*slow):
        device = Device(*slow)
        monkeypatch.setattr(pace, "time", device)
        monkeypatch.setattr("tvm_split.profile.noise.time", device)
        return device, Pace(lambda: device.takes(1e-3))

    return made


def test_what_is_slowed_down_is_waited_for(made):
    device, found = made((4, 6))
    device.now = 3.5
    assert found.is_own() and found.wait() and device.now < 3.6
    device.now = 4.0
    assert not found.is_own()
    assert found.wait() and 6.0 <= device.now < 6.2


def test_waiting_has_an_end(made):
    device, found = made((20, 1e9))
    device.now = 20.0
    assert not found.wait() and MOST_S < device.now - 20 < MOST_S + 0.2
    begin, waits = device.now, 0
    while device.now < begin + 200:
        device.now += 1.0  # something is timed
        before = device.now
        found.wait()
        waits += device.now - before
    assert waits < (SHARE + 0.02) * device.now


def test_a_device_that_stays_slower_is_at_its_own_pace_after_a_while(made):
    """A chip that got hot: that is how fast it is."""
    device, found = made((10, 1e9))
    device.now = 10.0
    while not found.is_own():
        assert device.now < 90
        device.now += 0.05
    assert device.now > 15


def test_rounds_that_others_slow_down_do_not_count(made):
    """A third of each second is slow, also within what is timed: medians of all rounds would be off."""
    device, found = made(*((i, i + 0.35) for i in range(4, 40)))
    begin = device.now
    timed = in_rounds({"a": lambda: [device.takes(0.3)], "b": lambda: [device.takes(0.1)]}, apart_s=0.3, pace=found)
    assert timed["a"].seconds == pytest.approx(0.3) and timed["b"].seconds == pytest.approx(0.1)
    assert begin >= BEFORE_S and timed["a"].spread == pytest.approx(0, abs=1e-9)


def test_where_everything_is_slowed_down_the_time_is_noise(made):
    """However well the rounds agree with each other."""
    device, found = made((3.5, 1e9))
    device.now = 4.0
    timed = in_rounds({"a": lambda: [device.takes(0.5)]}, pace=found)
    assert timed["a"].seconds == pytest.approx(0.7) and timed["a"].noisy


def test_nothing_is_waited_for_when_the_time_is_up(made):
    device, found = made((3.5, 1e9))
    device.now = 10.0
    assert not found.wait(lambda: False) and device.now < 10.1


def test_a_reference_that_fails_costs_one_round_of_one_thing(made):
    device, found = made()
    right, calls = found.is_own, iter([True, CostError("gone")])

    def is_own():
        answer = next(calls, True)
        if isinstance(answer, CostError):
            raise answer
        return right()

    found.is_own = is_own
    timed = in_rounds({"a": lambda: [device.takes(0.5)], "b": lambda: [device.takes(0.1)]}, pace=found)
    assert str(timed["a"]) == "gone" and timed["b"].seconds == pytest.approx(0.1)
