"""What is said to TVM's RPC tracker and to the servers that it lists, with an end to every wait and every answer."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

from tvm.rpc import base

from tvm_split.errors import LinkDownError

#: a tracker of a thousand boards answers in a tenth of it
MOST_BYTES = 1 << 20
#: keys of boards that a message lists
NAMED = 10
#: what another answer than a tracker's raises
NONSENSE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error)


def address_of(tracker: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; LinkDownError for anything else."""
    host, _, port = tracker.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 65536:
        raise LinkDownError(f"tracker {tracker!r:.80}: expected HOST:PORT, for example 127.0.0.1:9190")
    return host, int(port)


def how_to_check(host: str, port: int) -> str:
    """The command that shows what a tracker lists."""
    return f"`python3 -m tvm.exec.query_rpc_tracker --host {host} --port {port}`"


@contextlib.contextmanager
def opened(host: str, port: int, timeout_s: float) -> Iterator[socket.socket]:
    """A connection to the tracker. TVM's own client would try a closed port again for a minute."""
    try:
        link = socket.create_connection((host, port), timeout=timeout_s)
    except (OSError, UnicodeError) as error:  # a name with an empty or too long part is not even looked up
        raise LinkDownError(
            f"the RPC tracker at {host}:{port} cannot be reached ({error}): check it with {how_to_check(host, port)}; "
            f"start one with `python3 -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {port}`"
        ) from error
    with link:
        try:
            link.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            (magic,) = struct.unpack("<i", _receive(link, 4, time.monotonic() + timeout_s))
        except OSError as error:
            raise _stranger(host, port, error) from error
        if magic != base.RPC_TRACKER_MAGIC:
            raise _stranger(host, port, f"it said {magic:#x}")
        yield link


def _stranger(host: str, port: int, why: object) -> LinkDownError:
    return LinkDownError(
        f"{host}:{port} is no RPC tracker, or a broken one ({why}): check it with {how_to_check(host, port)}"
    )


def ask(link: socket.socket, host: str, port: int, question: list[Any], may_wait: bool = False) -> Any:
    """The tracker's answer, within the link's timeout. Too late: TimeoutError when the question may have to wait, else
    LinkDownError."""
    try:
        base.sendjson(link, question)
        deadline = time.monotonic() + (link.gettimeout() or 0.0)
        (size,) = struct.unpack("<i", _receive(link, 4, deadline))
        if not 0 < size <= MOST_BYTES:
            raise ValueError(f"it announces an answer of {size} bytes")
        code, answer = json.loads(_receive(link, size, deadline))
    except NONSENSE as error:
        if may_wait and isinstance(error, TimeoutError):
            raise
        raise _stranger(host, port, error) from error
    if code != base.TrackerCode.SUCCESS:
        raise _stranger(host, port, f"it refused with code {code}")
    return answer


def _receive(link: socket.socket, size: int, deadline: float) -> bytes:
    """So many bytes, all by the deadline, of which a peer may send one at a time. TimeoutError; OSError: it hung up."""
    data = bytearray()
    before = link.gettimeout()
    try:
        while len(data) < size:
            link.settimeout(max(deadline - time.monotonic(), 1e-3))
            part = link.recv(size - len(data))
            if not part:
                raise OSError("it hung up")
            data += part
            if time.monotonic() > deadline:
                raise TimeoutError("it did not end its answer in time")
    finally:
        link.settimeout(before)
    return bytes(data)


def board_of(answer: Any, host: str, port: int) -> tuple[str, int, str]:
    """Address, port and password of the board that the tracker gives. LinkDownError: it gives none."""
    try:
        address, server_port, match = answer
        if isinstance(address, str) and isinstance(match, str) and 0 < server_port < 65536:
            return address, int(server_port), match
        raise ValueError(f"it gives {answer!r:.80} for a board")
    except NONSENSE as error:
        raise _stranger(host, port, error) from error


def count_of(summary: Any, host: str, port: int, key: str) -> int:
    """How many boards with `key` the tracker lists. LinkDownError with the keys there are when there is none."""
    tracker = f"{host}:{port}"
    try:
        keys = [item["key"].removeprefix("server:") for item in summary["server_info"]]
    except NONSENSE as error:
        raise _stranger(host, port, f"it lists its boards as {summary!r:.80}") from error
    if key not in keys:
        names = sorted(set(keys))
        there = ", ".join(f"{ascii(name)[1:-1]:.40} ({keys.count(name)})" for name in names[:NAMED]) or "none at all"
        there += f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise LinkDownError(
            f"the tracker at {tracker} has no board with key {key!r}; it has: {there}. Start one on the "
            f"board: `python3 -m tvm.exec.rpc_server --tracker {tracker} --key {key}`"
        )
    return keys.count(key)


def knock(address: str, port: int, timeout_s: float) -> None:
    """OSError unless an RPC server answers in time: TVM's own connect has no timeout, and a dead board is silent.

    A key that the server does not know is turned away at once, and leaves it waiting for the right one.
    """
    with socket.create_connection((address, port), timeout=timeout_s) as link:
        key = b"client:tvm-split-knock"
        link.sendall(struct.pack("<ii", base.RPC_MAGIC, len(key)) + key)
        (code,) = struct.unpack("<i", _receive(link, 4, time.monotonic() + timeout_s))
    if code != base.RPC_CODE_MISMATCH:
        raise OSError(f"it answers {code:#x}, which no RPC server says to an unknown key")
