"""Measure the link to a `tvm-split link --serve`: round trip, rate up and rate down, path MTU.

round trip    median of many small messages
a rate        transfers grow until one takes long enough to have left TCP's slow start: its share of the time
              allowed, and ROUND_TRIPS round trips. Then TRANSFERS of that size; the rate is their median.
its spread    the quartiles' distance over the median. Above the limit the transfers are repeated, ROUNDS times in
              all, and then the rate is refused: it would be noise.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tvm_split.errors import LinkDownError
from tvm_split.runtime import link_wire as wire
from tvm_split.spread import spread_of
from tvm_split.units import rate as rate_text
from tvm_split.units import size as size_text

PINGS, PINGS_S, LEAST_PINGS = 40, 4.0, 5
TRANSFERS, ROUNDS, ROUND_TRIPS = 7, 3, 10
FIRST_BYTES = 4096
#: seconds to connect, and for an answer
ANSWER_S = 10.0
#: 8 Tbit/s: no link moves more in a nanosecond
MOST_BYTES_PER_NS = 1000

Say = Callable[[str], None]

# Linux's numbers, which Python's socket module does not name
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, PMTUDISC_DO = 10, 14, 23, 24, 2


@dataclass(frozen=True, slots=True)
class Rate:
    """Median of the transfers in bytes a second; spread: the quartiles' distance over it; size_bytes of each."""

    bytes_per_s: float
    spread: float
    transfers: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A link as it was measured. path_mtu_bytes is None where the system does not tell."""

    peer: str
    rtt_s: float
    rtt_spread: float
    pings: int
    up: Rate
    down: Rate
    path_mtu_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_link(
    host: str, port: int, seconds: float = 5.0, max_spread: float = 0.3, say: Say = lambda _text: None
) -> Measured:
    """Measure towards a server, `seconds` a direction or as long as the transfers take.

    LinkDownError: no server, another protocol, a server that is busy or stops, and a rate whose spread is above
    `max_spread` each time.
    """
    peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    link = _connect(host, port, peer)
    try:
        _discover(link)
        probe = wire.Probe(link, peer, ANSWER_S)
        try:
            probe.greet()
        except LinkDownError as error:
            raise LinkDownError(f"{error}; is it `tvm-split link --serve` that listens there?") from error
        say(f"round trip to {peer}")
        trips = round_trips(probe)
        rtt_s = statistics.median(trips)
        target_s = max(seconds / TRANSFERS, ROUND_TRIPS * rtt_s)
        up = _rate(partial(send_up, probe), "up", target_s, max_spread, say)
        down = _rate(partial(fetch_down, probe), "down", target_s, max_spread, say)
        mtu = _path_mtu(link)
        probe.say(wire.END)
    finally:
        wire.close_gently(link)
    return Measured(peer, rtt_s, spread_of(trips), len(trips), up, down, mtu)


def round_trips(probe: wire.Probe) -> list[float]:
    """Seconds of each small message and its echo, the first one left out: PINGS, fewer on a slow link."""
    found: list[float] = []
    begin = time.monotonic()
    for number in range(PINGS + 1):
        sent = time.monotonic()
        probe.say(wire.ECHO, number)
        probe.answer(wire.ECHO, number)
        found.append(time.monotonic() - sent)
        if len(found) > LEAST_PINGS and time.monotonic() - begin > PINGS_S:
            break
    return found[1:]


def send_up(probe: wire.Probe, size: int) -> wire.Seen:
    """Send bytes; what the server saw of them."""
    probe.say(wire.UP, size)
    probe.answer(wire.UP, size)
    deadline = time.monotonic() + wire.TRANSFER_S
    probe.pour(size, deadline)
    # what is written may still lie in buffers here, so the answer has the transfer's deadline
    _, counted, nanoseconds = probe.answer(wire.SEEN, deadline=deadline)
    if counted >= size or (nanoseconds == 0) != (counted == 0) or counted > MOST_BYTES_PER_NS * nanoseconds:
        raise LinkDownError(f"{probe.peer} says that {counted} of {size} bytes came in {nanoseconds} ns; it is damaged")
    return wire.Seen(counted, nanoseconds * 1e-9)


def fetch_down(probe: wire.Probe, size: int) -> wire.Seen:
    """Have bytes sent; what we saw of them."""
    probe.say(wire.DOWN, size)
    probe.answer(wire.DOWN, size)
    return probe.drain(size, time.monotonic() + wire.TRANSFER_S)


def _rate(move: Callable[[int], wire.Seen], name: str, target_s: float, max_spread: float, say: Say) -> Rate:
    size, seen = _long_enough(move, target_s)
    say(f"rate {name}: {TRANSFERS} transfers of {size_text(size)}, at about {rate_text(seen.bytes_per_s)}")
    tried: list[Rate] = []
    for _ in range(ROUNDS):
        rates = [move(size).bytes_per_s for _ in range(TRANSFERS)]
        found = Rate(statistics.median(rates), spread_of(rates), TRANSFERS, size)
        if found.bytes_per_s > 0 and found.spread <= max_spread:
            return found
        tried.append(found)
        say(f"rate {name}: spread {found.spread:.0%}, above {max_spread:.0%}")
    figures = ", ".join(f"{rate_text(each.bytes_per_s)} with a spread of {each.spread:.0%}" for each in tried)
    raise LinkDownError(
        f"the rate {name} is noise: {figures}; at most {max_spread:.0%} is taken. Measure when the link is quieter, "
        "for longer (--seconds), or allow more (--max-spread)"
    )


def _long_enough(move: Callable[[int], wire.Seen], target_s: float) -> tuple[int, wire.Seen]:
    """Bytes that take about `target_s` or more to move, MOST_BYTES at most."""
    size = FIRST_BYTES
    while True:
        begin = time.monotonic()
        seen = move(size)
        took = time.monotonic() - begin
        if took >= 0.7 * target_s or size == wire.MOST_BYTES:
            return size, seen
        size = min(int(size * min(max(target_s / max(took, 1e-9), 2.0), 8.0)), wire.MOST_BYTES)


def _connect(host: str, port: int, peer: str) -> socket.socket:
    try:
        return socket.create_connection((host, port), ANSWER_S)
    except (socket.gaierror, UnicodeError) as error:  # a name with an empty or too long part is not even looked up
        raise LinkDownError(
            f"{host!r:.80} is no host that can be found ({getattr(error, 'strerror', error)}); give HOST or HOST:PORT"
        ) from None
    except OSError as error:
        raise LinkDownError(
            f"nobody answers at {peer} ({error.strerror or error}); start `tvm-split link --serve {port} --bind "
            "ADDRESS` on that machine, and let its firewall pass"
        ) from None


def _discover(link: socket.socket) -> None:
    """Have the system find the path's MTU: no packet may be taken apart on the way."""
    if sys.platform != "linux":
        return
    level, option = socket.IPPROTO_IP, IP_MTU_DISCOVER
    if link.family == socket.AF_INET6:
        level, option = socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER
    try:
        link.setsockopt(level, option, PMTUDISC_DO)
    except OSError:
        pass  # the system's default finds it as well, or says nothing later


def _path_mtu(link: socket.socket) -> int | None:
    """What the system has found; None where it does not tell."""
    if sys.platform != "linux":
        return None
    ipv6 = link.family == socket.AF_INET6
    try:
        return link.getsockopt(socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP, IPV6_MTU if ipv6 else IP_MTU)
    except OSError:
        return None
