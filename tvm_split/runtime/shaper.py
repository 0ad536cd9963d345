"""Pace what a process sends as a slower link would, in user space: half a round trip, then bytes at a rate.

The bucket holds one chunk (2 ms of the link, 256 bytes to 64 KiB). A chunk leaves when its last byte would have
arrived, against absolute due times, so delays of the scheduler do not add up: a message of n bytes ends
delay + n / rate after its start, as `Link.up_s` and `Link.down_s` say.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tvm_split.errors import TargetError
from tvm_split.plan.problem import Link

CHUNK_S = 0.002
CHUNK_BYTES = (256, 65536)
#: sleeps wake up late by about this much; the end of a message is awaited actively
LATE_S = 0.0002


class Pacer:
    """Sends messages at `bytes_per_s`, each after `delay_s`. `clock` and `sleep` are for tests."""

    def __init__(
        self,
        bytes_per_s: float,
        delay_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not (bytes_per_s > 0 and delay_s >= 0):
            raise TargetError(
                f"a link of {bytes_per_s} bytes/s after {delay_s} s cannot be paced; expected > 0 and >= 0"
            )
        self._rate, self._delay_s, self._clock, self._sleep = bytes_per_s, delay_s, clock, sleep
        self._chunk = int(min(max(bytes_per_s * CHUNK_S, CHUNK_BYTES[0]), CHUNK_BYTES[1]))

    def send(self, data: bytes | bytearray | memoryview, write: Callable[[memoryview], None]) -> None:
        """Call `write` with the pieces of `data`, in order, the last at start + delay + len(data) / rate."""
        view, start = memoryview(data), self._clock() + self._delay_s
        for begin in range(0, len(view), self._chunk):
            end = min(begin + self._chunk, len(view))
            due = start + end / self._rate
            early = LATE_S if end == len(view) else 0.0
            while (left := due - self._clock()) > 0:
                self._sleep(left - early if left > early else 0.0)
            write(view[begin:end])


def uplink(link: Link) -> Pacer:
    """What the edge sends through."""
    return Pacer(link.up_bytes_per_s, link.rtt_s / 2)


def downlink(link: Link) -> Pacer:
    """What the cloud replies through."""
    return Pacer(link.down_bytes_per_s, link.rtt_s / 2)
