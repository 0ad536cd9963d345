"""A stream of bytes whose every read and write has a deadline, and whose failures say what was expected."""

from __future__ import annotations

import ipaddress
import socket
import time

from tvm_split.errors import LinkDownError


class Connection:
    """Bytes to and from one peer, each way with a deadline. `peer` names it in errors; a message ends in `timeout_s`.

    LinkDownError: the peer is gone, silent, or stops in the middle.
    """

    def __init__(self, link: socket.socket, peer: str, timeout_s: float) -> None:
        self._link, self._peer, self._timeout_s = link, peer, timeout_s
        if link.family in (socket.AF_INET, socket.AF_INET6):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def is_loopback(self) -> bool:
        """Whether the peer is a process of this machine, as far as its address tells."""
        address = self._link.getpeername()
        return isinstance(address, tuple) and ipaddress.ip_address(address[0]).is_loopback

    def write(self, data: bytes | memoryview) -> None:
        """Send all of it within `timeout_s`."""
        try:
            self._link.settimeout(self._timeout_s)
            self._link.sendall(data)
        except OSError as error:
            raise LinkDownError(
                f"{self._peer} cannot be written to ({error}): see that its process still runs"
            ) from error

    def read(self, size: int, what: str, deadline: float | None = None) -> bytearray:
        """Exactly `size` bytes of `what`, by the deadline (of `time.monotonic`), or within `timeout_s`."""
        data = bytearray(size)
        view, done = memoryview(data), 0
        deadline = time.monotonic() + self._timeout_s if deadline is None else deadline
        while done < size:
            done += self.read_some(view[done:], what, deadline, done, size)
        return data

    def read_some(self, view: memoryview, what: str, deadline: float, done: int, size: int) -> int:
        """How many bytes came into the view, at least one. `done` of `size` are there already, for errors."""
        left = deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._link.settimeout(left)
            count = self._link.recv_into(view)
        except TimeoutError as error:
            raise LinkDownError(
                f"{self._peer} did not send {what} within {self._timeout_s:g} s ({done} of {size} bytes came): "
                "see that its process runs, or allow more time"
            ) from error
        except OSError as error:
            raise LinkDownError(f"{self._peer} ended the connection before {what} ({error})") from error
        if not count:
            raise LinkDownError(f"{self._peer} closed the connection in {what} ({done} of {size} bytes came)")
        return count
