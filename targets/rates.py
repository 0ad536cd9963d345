"""A link written as a rate: `3mbit`, `500kbit/s`, `3mbit/10mbit/20ms` (up / down / round trip); or a known one at
another rate: `wifi@3mbit`."""

from __future__ import annotations

import re
from dataclasses import replace

from tvm_split.errors import TargetError
from tvm_split.plan.problem import Link

#: bits a second of each unit; decimal as networks count, `mibit` and its like as the Auto-Split authors' code counts
RATE_UNITS = {
    "bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "kibit": 2**10, "mibit": 2**20, "gibit": 2**30,
    "bps": 1, "kbps": 10**3, "mbps": 10**6, "gbps": 10**9,
}  # fmt: skip
#: what a link can be: bytes a second and seconds of a round trip
SLOWEST, FASTEST, LONGEST_S = 1 / 8, 1e15, 3600.0
TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_RATE = rf"({_NUMBER})\s*({'|'.join(sorted(RATE_UNITS, key=len, reverse=True))})(?:/s)?"
_LINK = re.compile(rf"\s*{_RATE}(?:/{_RATE})?(?:/({_NUMBER})\s*(us|ms|s))?\s*", re.IGNORECASE)

FORMS = (
    "3mbit, 500kbit/s, 3mbit/10mbit (up/down) or 3mbit/10mbit/20ms (up/down/round trip), or wifi@3mbit (a link of "
    "that name at your rate)"
)
AT = "@"


def is_rate(text: str) -> bool:
    """Whether the text has the form of a rate; its numbers may still be unusable."""
    return _LINK.fullmatch(text) is not None


def parse_rate(text: str) -> Link:
    """The link of that rate, named as written. One rate serves both directions; without a time the round trip is 0.

    Units are bits in any case of letters, never bytes. Raises TargetError on any other form and on a rate of 0.
    """
    up_bytes, down_bytes, rtt_s = _numbers(text)
    return Link(text.strip(), up_bytes, down_bytes, rtt_s or 0.0)


def named_rate(text: str) -> tuple[str, str] | None:
    """Name and rate of `NAME@RATE`; None for any other text."""
    name, at, rate = text.rpartition(AT)
    return (name, rate) if at and name and is_rate(rate) else None


def at_rate(link: Link, rate: str) -> Link:
    """The link at another rate, and round trip if the rate has one. The power of its radio follows from the rate where
    the link says how; where it states watts alone, those are of its own rate, and not known of another.

    TargetError as `parse_rate`.
    """
    up_bytes, down_bytes, rtt_s = _numbers(rate)
    return replace(
        link, name=f"{link.name}{AT}{rate.strip()}", up_bytes_per_s=up_bytes, down_bytes_per_s=down_bytes,
        rtt_s=link.rtt_s if rtt_s is None else rtt_s, up_w=None, down_w=None,
    )  # fmt: skip


def _numbers(text: str) -> tuple[float, float, float | None]:
    """Bytes a second up and down, and seconds of the round trip, None where the text has none."""
    match = _LINK.fullmatch(text)
    if match is None:
        raise TargetError(f"'{text}' is not a rate; write bits, such as {FORMS}")
    up, up_unit, down, down_unit, rtt, rtt_unit = match.groups()
    up_bytes = float(up) * RATE_UNITS[up_unit.lower()] / 8
    down_bytes = up_bytes if down is None else float(down) * RATE_UNITS[down_unit.lower()] / 8
    rtt_s = None if rtt is None else float(rtt) * TIME_UNITS[rtt_unit.lower()]
    if not (SLOWEST <= up_bytes <= FASTEST and SLOWEST <= down_bytes <= FASTEST and (rtt_s or 0.0) <= LONGEST_S):
        raise TargetError(
            f"'{text:.60}' is no link: rates go from {SLOWEST * 8:g} to {FASTEST * 8:g} bit/s, round trips to "
            f"{LONGEST_S:g} s; write for example {FORMS}"
        )
    return up_bytes, down_bytes, rtt_s
