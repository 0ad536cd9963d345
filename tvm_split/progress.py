"""Progress of work that has many steps: a line now and then, none of what is done soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[str], None]

#: seconds between two lines
INTERVAL_S = 5.0


def quiet(_text: str) -> None:
    """No progress wanted."""


def counted(items: Sequence[T], what: str, progress: Progress, interval_s: float = INTERVAL_S) -> Iterator[T]:
    """The items in order; whenever `interval_s` have passed, `progress` is told as in "what: 120 of 500"."""
    said = time.monotonic()
    for number, item in enumerate(items):
        if number and time.monotonic() - said >= interval_s:
            said = time.monotonic()
            progress(f"{what}: {number} of {len(items)}")
        yield item
