"""The other end of `tvm-split link`: echoes, counts and sends bytes, for one client after another.

Each connection has a thread, so that one that says nothing keeps nobody out; but only one at a time is served, since
two would measure each other. A client may move so many bytes in so much time, and is told why it is refused. There is
no password: it listens on 127.0.0.1 unless told otherwise, and what it gives away are random bytes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tvm_split.errors import LinkDownError
from tvm_split.runtime import link_wire as wire

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one client: seconds for its hello, for each next message, and for all; bytes of all transfers. `connections`
    are open at once at most."""

    hello_s: float = 5.0
    message_s: float = 10.0
    session_s: float = 600.0
    session_bytes: int = 2**36
    connections: int = 32


class LinkServer:
    """Serves a listening socket until `stop`. `say` gets a line for each client that came, and how it went."""

    def __init__(self, listener: socket.socket, say: Say, limits: Limits = Limits()) -> None:
        self._listener, self._say, self._limits = listener, say, limits
        self._stopped = False
        self._measuring = threading.Lock()
        self._places = threading.Semaphore(limits.connections)

    def serve(self) -> None:
        """Accept for ever. A client that fails is told of and forgotten."""
        while not self._stopped:
            try:
                link, address = self._listener.accept()
            except OSError as error:
                if not self._stopped:
                    self._say(f"a connection was lost before it began ({error})")
                    time.sleep(0.05)  # out of file descriptors: the others end soon
                continue
            if not self._places.acquire(blocking=False):
                link.close()
                continue
            threading.Thread(target=self._client, args=(link, f"{address[0]}:{address[1]}"), daemon=True).start()

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._stopped = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        except OSError:
            pass

    def _client(self, link: socket.socket, peer: str) -> None:
        try:
            self._say(f"{peer}: {self._session(link, peer)}")
        except LinkDownError as error:
            self._say(str(error))
        except Exception as error:  # whatever one client made go wrong, the next one is served
            self._say(f"{peer}: unexpected {type(error).__name__}: {error}")
        finally:
            wire.close_gently(link)
            self._places.release()

    def _session(self, link: socket.socket, peer: str) -> str:
        """Serve one client to its end; how it went."""
        wire.Probe(link, peer, self._limits.hello_s).welcome()
        probe = wire.Probe(link, peer, self._limits.message_s)
        if not self._measuring.acquire(blocking=False):
            return _refuse(probe, "it is measuring with another client; try again in half a minute")
        try:
            return self._answers(probe)
        finally:
            self._measuring.release()

    def _answers(self, probe: wire.Probe) -> str:
        """Answer until END, or until the client has had its share."""
        end, moved = time.monotonic() + self._limits.session_s, 0
        while True:
            try:
                asked = probe.hear()
            except LinkDownError as error:
                _refuse(probe, str(error))
                raise
            size = asked.number if asked.kind in (wire.UP, wire.DOWN) else 0
            if asked.kind == wire.END:
                return f"measured with {moved} bytes"
            if asked.kind not in (wire.ECHO, wire.UP, wire.DOWN):
                return _refuse(probe, f"{wire.NAMES[asked.kind]} is nothing that a client sends")
            if time.monotonic() > end or moved + size > self._limits.session_bytes:
                return _refuse(
                    probe, f"a client has {self._limits.session_s:g} s and {self._limits.session_bytes} bytes"
                )
            moved += size
            probe.say(asked.kind, asked.number)
            deadline = min(time.monotonic() + wire.TRANSFER_S, end)
            if asked.kind == wire.UP:
                seen = probe.drain(size, deadline)
                probe.say(wire.SEEN, seen.counted, round(seen.seconds * 1e9))
            elif asked.kind == wire.DOWN:
                probe.pour(size, deadline)


def _refuse(probe: wire.Probe, why: str) -> str:
    """Tell the client, as far as it listens; the line for ourselves."""
    text = why.encode()[: wire.MOST_TEXT]
    try:
        probe.say(wire.REFUSED, len(text))
        probe.write(text)
    except LinkDownError:
        pass
    return f"refused: {why}"
