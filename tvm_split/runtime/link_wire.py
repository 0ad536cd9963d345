"""What `tvm-split link` and `tvm-split link --serve` say to each other. Every message has one length, and every number
is checked before anything is read for it.

    hello     'TVSL', version u16                        first from the client, then from the server
    message   kind u8, number u64, value u64              all integers little-endian

    client                              server
    ECHO i                       ---->
                                 <----  ECHO i
    UP n                         ---->
                                 <----  UP n, which says: send
    n bytes                      ---->
                                 <----  SEEN m t: the last m of the n bytes arrived in t nanoseconds
    DOWN n                       ---->
                                 <----  DOWN n, then n bytes
    END                          ---->
                                 <----  REFUSED n, then n bytes of UTF-8 text, and the end: in place of any answer

A rate is what the receiver sees, from when a quarter of the bytes is there: buffers of the sender, bursts and the start
of TCP are before that.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import NamedTuple

from tvm_split.errors import LinkDownError
from tvm_split.runtime.connection import Connection

MAGIC = b"TVSL"
VERSION = 1
HELLO = struct.Struct("<4sH")
MESSAGE = struct.Struct("<BQQ")

ECHO, UP, SEEN, DOWN, END, REFUSED = 1, 2, 3, 4, 5, 6
NAMES = {ECHO: "ECHO", UP: "UP", SEEN: "SEEN", DOWN: "DOWN", END: "END", REFUSED: "REFUSED"}

#: of one transfer, either way
MOST_BYTES = 2**30
#: seconds that one transfer may take
TRANSFER_S = 60.0
MOST_TEXT = 1024
#: what is written at once: on a link of 13 kbit/s it still leaves within a timeout of 10 s
BLOCK = 1 << 14
#: read at once
BUFFER = 1 << 18


class Message(NamedTuple):
    kind: int
    number: int = 0
    value: int = 0

    def pack(self) -> bytes:
        return MESSAGE.pack(*self)


class Seen(NamedTuple):
    """The last `counted` bytes of a transfer, and the seconds in which they arrived; (0, 0.0) if all came at once."""

    counted: int
    seconds: float

    @property
    def bytes_per_s(self) -> float:
        return self.counted / self.seconds if self.seconds else 0.0


def hello() -> bytes:
    return HELLO.pack(MAGIC, VERSION)


def parse_hello(data: bytes, peer: str) -> None:
    """LinkDownError, naming the peer, unless the bytes are the hello of this version."""
    magic, version = HELLO.unpack(data)
    if magic != MAGIC:
        raise LinkDownError(
            f"{peer} speaks another protocol: it began with {magic!r}, expected {MAGIC!r}; start `tvm-split link "
            "--serve` there, and give its port"
        )
    if version != VERSION:
        raise LinkDownError(
            f"{peer} measures links by protocol version {version}, this side by {VERSION}; install one tvm-split "
            "on both"
        )


def parse(data: bytes, peer: str) -> Message:
    """LinkDownError, naming the peer, for a kind that is none and for more bytes than a transfer may have."""
    found = Message(*MESSAGE.unpack(data))
    if found.kind not in NAMES:
        raise LinkDownError(f"{peer} sent a message of kind {found.kind}, which there is not; the stream is damaged")
    if found.kind in (UP, DOWN) and not 0 < found.number <= MOST_BYTES:
        raise LinkDownError(f"{peer} asks for a transfer of {found.number} bytes; 1 to {MOST_BYTES} are moved at once")
    return found


class Probe(Connection):
    """One connection between client and server. LinkDownError: the peer is gone, silent, or speaks something else."""

    def greet(self) -> None:
        """Say hello, and read the server's."""
        self.write(hello())
        parse_hello(bytes(self.read(HELLO.size, "its hello")), self.peer)

    def welcome(self) -> None:
        """Read a client's hello, and say ours: also to one of another version, which then knows, not to a stranger."""
        data = bytes(self.read(HELLO.size, "its hello"))
        if data.startswith(MAGIC):
            self.write(hello())
        parse_hello(data, self.peer)

    def say(self, kind: int, number: int = 0, value: int = 0) -> None:
        self.write(Message(kind, number, value).pack())

    def hear(self, deadline: float | None = None) -> Message:
        """The peer's next message, whatever it is."""
        return parse(bytes(self.read(MESSAGE.size, "its next message", deadline)), self.peer)

    def answer(self, kind: int, number: int | None = None, deadline: float | None = None) -> Message:
        """The peer's next message, of that kind and number. LinkDownError, with the peer's words when it refused."""
        found = self.hear(deadline)
        if found.kind == REFUSED:
            text = bytes(self.read(min(found.number, MOST_TEXT), "why it refused")).decode(errors="replace")
            words = "".join(c if c.isprintable() else "?" for c in text)  # a stranger's bytes, for a terminal
            raise LinkDownError(f"{self.peer} refused: {words}")
        if found.kind != kind or number not in (None, found.number):
            raise LinkDownError(
                f"{self.peer} answered {NAMES[found.kind]} {found.number}, expected {NAMES[kind]}"
                f"{'' if number is None else f' {number}'}; the stream is damaged"
            )
        return found

    def pour(self, size: int, deadline: float) -> None:
        """Send `size` bytes that nothing between can compress, by the deadline."""
        block = memoryview(os.urandom(BLOCK))
        for begin in range(0, size, BLOCK):
            if time.monotonic() > deadline:
                raise LinkDownError(
                    f"{self.peer} took {begin} of {size} bytes in the time for one transfer; it is slow"
                )
            self.write(block[: size - begin])

    def drain(self, size: int, deadline: float) -> Seen:
        """Read `size` bytes by the deadline, and say how fast the last three quarters came."""
        view, done = memoryview(bytearray(min(size, BUFFER))), 0
        begin: tuple[int, float] | None = None
        while done < size:
            done += self.read_some(view[: size - done], "the bytes of a transfer", deadline, done, size)
            if begin is None and done >= size // 4:
                begin = done, time.monotonic()
        assert begin is not None
        counted, seconds = size - begin[0], time.monotonic() - begin[1]
        return Seen(counted, seconds) if counted and seconds > 0 else Seen(0, 0.0)


def close_gently(link: socket.socket) -> None:
    """Close so that what was written last arrives even if the peer's bytes were not all read."""
    try:
        link.shutdown(socket.SHUT_WR)
        link.settimeout(0.2)
        for _ in range(16):
            if not link.recv(BUFFER):
                break
    except OSError:
        pass
    link.close()
