"""Whether a device is at its own pace, or others' work on the same processor slows it down. No TVM.

A neighbour on the same core (another machine's virtual processor, a hot chip's lower clock) comes and goes within
seconds, and slows what computes by a third or more, what waits for memory hardly. So times of different moments do not
compare, and no one factor mends them. A reference is timed before and after everything: what it finds slow is not
taken for the device's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

#: how much longer than the LEAST quantile of what it took of late, the last WINDOW times, a reference may take
SLOWER, LEAST, WINDOW = 1.15, 0.05, 1200
#: seconds: from look to look while it is slow, and how long one thing waits at most
TICK_S, MOST_S = 0.05, 5.0
#: of all time, at most this share is waited
SHARE = 0.5
#: seconds of looks before anything is timed
BEFORE_S = 3.0


class Pace:
    """By a reference: `take` gives the seconds of a fixed piece of work on the device, repeated for a millisecond."""

    def __init__(self, take: Callable[[], float], before_s: float = BEFORE_S) -> None:
        self._take = take
        self._seen: deque[float] = deque(maxlen=WINDOW)
        self._begin, self._waited = time.monotonic(), 0.0
        self.is_own()
        while time.monotonic() < self._begin + before_s:
            time.sleep(TICK_S)
            self.is_own()

    def is_own(self) -> bool:
        """Whether nothing slows the device right now."""
        now = self._take()
        self._seen.append(now)
        return now <= SLOWER * float(np.quantile(self._seen, LEAST))

    def wait(self, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Wait until nothing slows the device; False when that takes too long, or `go_on` says no."""
        begin = time.monotonic()
        while not (own := self.is_own()) and go_on():
            now = time.monotonic()
            if now - begin > MOST_S or self._waited + now - begin > SHARE * (now - self._begin):
                break
            time.sleep(TICK_S)
        self._waited += time.monotonic() - begin
        return own
