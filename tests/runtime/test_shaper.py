"""The pacer keeps the link's time to the byte, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import TargetError
from tvm_split.plan.problem import Link
from tvm_split.runtime.shaper import Pacer, downlink, uplink


class Clock:
    """Advances only when slept on, and wakes late by `late` seconds."""

    def __init__(self, late: float = 0.0) -> None:
        self.now, self.late = 100.0, late

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late + 1e-6


def record(clock):
    pieces = []
    return pieces, lambda piece: pieces.append((clock.now, bytes(piece)))


@given(st.binary(max_size=20000), st.floats(1e3, 1e9), st.floats(0, 1), st.floats(0, 1e-4))
def test_a_message_takes_the_links_time(data, rate, delay_s, late):
    clock = Clock(late)
    pieces, write = record(clock)
    Pacer(rate, delay_s, clock, clock.sleep).send(data, write)
    assert b"".join(piece for _, piece in pieces) == data
    if data:
        took, wanted = pieces[-1][0] - 100.0, delay_s + len(data) / rate
        assert wanted - 1e-9 <= took <= wanted + late + 1e-5


@given(st.integers(1, 50000), st.floats(1e4, 1e7), st.floats(0, 0.1))
def test_no_byte_leaves_early(size, rate, delay_s):
    clock = Clock()
    pieces, write = record(clock)
    Pacer(rate, delay_s, clock, clock.sleep).send(bytes(size), write)
    sent = 0
    for when, piece in pieces:
        sent += len(piece)
        assert when - 100.0 >= delay_s + sent / rate - 1e-9


def test_the_links_directions():
    link = Link("uneven", up_bytes_per_s=1000, down_bytes_per_s=4000, rtt_s=0.2)
    for make, wanted in ((uplink, link.up_s(2000)), (downlink, link.down_s(2000))):
        clock, begin = Clock(), 100.0
        pacer = make(link)
        pacer._clock, pacer._sleep = clock, clock.sleep
        pieces, write = record(clock)
        pacer.send(bytes(2000), write)
        assert pieces[-1][0] - begin == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(("rate", "delay_s"), [(0, 0), (-1, 0), (1, -1), (float("nan"), 0)])
def test_impossible_links(rate, delay_s):
    with pytest.raises(TargetError, match="cannot be paced"):
        Pacer(rate, delay_s)
