"""The bytes between the two halves. No TVM, no pickle: lengths are checked before anything is allocated.

    hello   'TVSP', version u16, length u8, fingerprint (ASCII)     first from the edge, then from the cloud
    frame   number u64, kind u32, length u64, then `length` bytes    all integers little-endian

    edge                                cloud
    PAYLOAD n (payload_bytes)   ---->
                                <----   RECEIVED n (empty), as soon as the last byte is there
                                <----   RESULT n (two times f64, then the cloud outputs, raw, in order)
                                        or ERROR n (UTF-8 text)

The two times are when the cloud had received the payload and when it had computed, in seconds of its monotonic clock.
WARM_UP is a PAYLOAD whose reply is not paced and not counted. Every receive has a deadline, so no peer makes it hang.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_split.errors import BundleError, LinkDownError
from tvm_split.runtime.connection import Connection
from tvm_split.runtime.shaper import Pacer

MAGIC = b"TVSP"
VERSION = 1
HELLO = struct.Struct("<4sHB")
HEADER = struct.Struct("<QIQ")
TIMES = struct.Struct("<dd")

PAYLOAD, WARM_UP, RECEIVED, RESULT, ERROR = 1, 2, 3, 4, 5
NAMES = {PAYLOAD: "PAYLOAD", WARM_UP: "WARM_UP", RECEIVED: "RECEIVED", RESULT: "RESULT", ERROR: "ERROR"}
MAX_ERROR_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Frame:
    number: int
    kind: int
    data: bytearray


def hello(fingerprint: str) -> bytes:
    """The greeting of a half. BundleError unless the fingerprint is 1 to 255 ASCII characters."""
    if not (fingerprint.isascii() and 0 < len(fingerprint) < 256):
        raise BundleError(f"fingerprint {fingerprint!r}: expected 1 to 255 ASCII characters; compile the bundle again")
    return HELLO.pack(MAGIC, VERSION, len(fingerprint)) + fingerprint.encode("ascii")


def frame(number: int, kind: int, data: bytes | bytearray | memoryview) -> bytes:
    """One frame as bytes."""
    return HEADER.pack(number, kind, len(data)) + bytes(data)


class Channel(Connection):
    """The connection between two halves of one bundle: hellos, then frames.

    BundleError: the peer is another bundle's half. LinkDownError as above, and for what is no frame.
    """

    def greet(self, fingerprint: str) -> None:
        """Send our hello and read the other. BundleError naming both fingerprints when they differ."""
        self.write(hello(fingerprint))
        deadline = time.monotonic() + self._timeout_s
        magic, version, length = HELLO.unpack(self.read(HELLO.size, "its hello", deadline))
        if magic != MAGIC:
            raise LinkDownError(
                f"{self._peer} is no half of a tvm-split bundle: it began with {magic!r}, expected {MAGIC!r}; "
                "check the port"
            )
        if version != VERSION:
            raise BundleError(
                f"{self._peer} speaks protocol version {version}, this side {VERSION}; install one tvm-split on both"
            )
        theirs = bytes(self.read(length, "its fingerprint", deadline)).decode("ascii", errors="backslashreplace")
        if theirs != fingerprint:
            raise BundleError(
                f"{self._peer} runs the bundle with fingerprint {theirs}, this side {fingerprint}; "
                "the two halves must come from one `tvm-split compile`"
            )

    def send(
        self, number: int, kind: int, data: bytes | bytearray | memoryview = b"", pacer: Pacer | None = None
    ) -> None:
        """Send a frame, at the pacer's rate when there is one; header and data are both paced."""
        whole = frame(number, kind, data)
        if pacer is None:
            self.write(whole)
        else:
            pacer.send(whole, self.write)

    def receive(self, lengths: Mapping[int, int | range], number: int | None = None) -> Frame:
        """The next frame. `lengths`: kind -> exact length of its data, or a range of them for what a codec made; ERROR
        is allowed where it is named, to 16 KiB.

        `number` is the expected frame number, None for any. BundleError when the length is another, LinkDownError when
        kind or number are.
        """
        deadline = time.monotonic() + self._timeout_s
        expected = " or ".join(NAMES[kind] for kind in lengths)
        found, kind, length = HEADER.unpack(self.read(HEADER.size, f"a {expected} frame", deadline))
        if kind not in lengths:
            raise LinkDownError(
                f"{self._peer} sent a frame of kind {NAMES.get(kind, kind)}, expected {expected}; the stream is damaged"
            )
        if number is not None and found != number:
            raise LinkDownError(
                f"{self._peer} sent {NAMES[kind]} number {found}, expected {number}; the stream is damaged"
            )
        if kind == ERROR:
            if length > MAX_ERROR_BYTES:
                raise LinkDownError(
                    f"{self._peer} announced {length} bytes of error text, at most {MAX_ERROR_BYTES} are read"
                )
        elif length not in (allowed if isinstance(allowed := lengths[kind], range) else (allowed,)):
            raise BundleError(
                f"{self._peer} announced {length} bytes of {NAMES[kind]}, this bundle's is {allowed}; "
                "refused unread: use the same bundle on both sides"
            )
        return Frame(found, kind, self.read(length, f"{NAMES[kind]} {found}", deadline))


def is_closed(link: socket.socket, timeout_s: float) -> bool:
    """Wait for the peer's next byte, at most `timeout_s`, without reading it; True when it closed or said nothing."""
    try:
        link.settimeout(timeout_s)
        return not link.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
