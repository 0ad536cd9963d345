"""A server of links on 127.0.0.1, a relay that makes the way to it a link of known rate, and servers that misbehave."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tvm_split.plan.problem import Link
from tvm_split.runtime.link_server import Limits, LinkServer
from tvm_split.runtime.shaper import Pacer

CHUNK = 4096


class Running:
    """A LinkServer in a thread. `lines` are what it said."""

    def __init__(self, limits: Limits) -> None:
        self.lines: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.port = self.listener.getsockname()[1]
        self.server = LinkServer(self.listener, self.lines.append, limits)
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()

    def said(self, text: str, timeout_s: float = 5.0) -> bool:
        """Whether a line with that text comes in time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if any(text in line for line in list(self.lines)):
                return True
            time.sleep(0.01)
        return False

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(5)
        self.listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start a server; `Limits` by name."""
    running: list[Running] = []

    def start(**limits: float) -> Running:
        running.append(Running(Limits(**limits)))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def pump(source: socket.socket, sink: socket.socket, rate: float, delay_s: float) -> None:
    """Bytes of one direction: each chunk leaves after the delay, paced as the project's own shaper paces."""
    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(maxsize=8)

    def send() -> None:
        pacer = Pacer(rate)
        with contextlib.suppress(OSError):
            while (item := waiting.get())[1]:
                time.sleep(max(item[0] - time.monotonic(), 0.0))
                pacer.send(item[1], sink.sendall)
            sink.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            waiting.put((time.monotonic() + delay_s, data))
    waiting.put((0.0, b""))


@pytest.fixture
def relay() -> Iterator[Callable[[int, Link], int]]:
    """Port of a server and a link -> the port of a relay to it that is as slow as the link, for one client."""
    opened: list[socket.socket] = []

    def start(port: int, link: Link) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                opened.extend((client, server))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                up = (client, server, link.up_bytes_per_s, link.rtt_s / 2)
                down = (server, client, link.down_bytes_per_s, link.rtt_s / 2)
                for way in (up, down):
                    threading.Thread(target=pump, args=way, daemon=True).start()

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def stranger() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """What to do with one client -> the port of a server that does it."""
    opened: list[socket.socket] = []

    def start(work: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    work(client)

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for each in opened:
        each.close()
