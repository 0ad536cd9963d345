"""The server outlives every client, says why it refuses, and serves the next one."""

import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tvm_split.errors import LinkDownError
from tvm_split.runtime import link_wire as wire
from tvm_split.runtime.link_probe import fetch_down, round_trips, send_up


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def greeted(link: socket.socket) -> wire.Probe:
    probe = wire.Probe(link, "the server", 5.0)
    probe.greet()
    return probe


def works(port: int) -> bool:
    """Whether a client is served, as soon as the one before it is gone."""
    for _ in range(300):
        with connect(port) as link:
            try:
                probe = greeted(link)
                probe.say(wire.ECHO, 5)
                probe.answer(wire.ECHO, 5)
            except LinkDownError:
                time.sleep(0.02)
                continue
            probe.say(wire.END)
            return True
    return False


def test_it_echoes_counts_and_sends(serve):
    running = serve()
    with connect(running.port) as link:
        probe = greeted(link)
        assert len(round_trips(probe)) >= 5
        for size in (1, 3, 4096, 1_000_000):
            for move in (send_up, fetch_down):
                seen = move(probe, size)
                assert 0 <= seen.counted <= size - size // 4
        probe.say(wire.END)
    assert running.said("measured with 2008200 bytes")
    assert works(running.port)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100), st.booleans())
def test_garbage_is_survived(serve_quick, data, says_hello):
    """As the first bytes, and after a right hello."""
    with connect(serve_quick.port) as link:
        link.sendall((wire.hello() if says_hello else b"") + data)
    assert serve_quick.thread.is_alive()


@pytest.fixture
def serve_quick(serve):
    running = serve(hello_s=0.5, message_s=0.5)
    yield running
    assert works(running.port)
    assert not any("unexpected" in line for line in running.lines)


def test_a_client_that_says_nothing_keeps_nobody_out(serve):
    running = serve(hello_s=0.5)
    with connect(running.port), connect(running.port):
        assert works(running.port)
        assert running.said("did not send its hello within 0.5 s")


def test_a_client_that_dies_while_it_measures_makes_room(serve):
    running = serve(message_s=0.3)
    with connect(running.port) as link:
        probe = greeted(link)
        probe.say(wire.UP, 1_000_000)
        probe.answer(wire.UP, 1_000_000)
        link.sendall(b"x" * 1000)
    assert works(running.port)
    with connect(running.port) as link:
        greeted(link)  # and then not a word
        assert running.said("did not send its next message within 0.3 s")
    assert works(running.port)


def test_one_is_measured_at_a_time(serve):
    running = serve()
    with connect(running.port) as first, connect(running.port) as second:
        one = greeted(first)
        one.say(wire.ECHO, 1)
        one.answer(wire.ECHO, 1)
        two = greeted(second)
        with pytest.raises(LinkDownError, match="the server refused: it is measuring with another client; try again"):
            two.answer(wire.ECHO)
        one.say(wire.END)
    assert works(running.port)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (wire.Message(wire.UP, wire.MOST_BYTES + 1), "asks for a transfer of 1073741825 bytes; 1 to 1073741824"),
        (wire.Message(wire.DOWN, 2**64 - 1), "asks for a transfer of 18446744073709551615 bytes"),
        (wire.Message(wire.DOWN, 0), "asks for a transfer of 0 bytes"),
        (wire.Message(wire.DOWN, 3000), "a client has 600 s and 2000 bytes"),
        (wire.Message(wire.UP, 3000), "a client has 600 s and 2000 bytes"),
        (wire.Message(wire.SEEN, 1, 1), "SEEN is nothing that a client sends"),
        (wire.Message(99), "a message of kind 99, which there is not"),
    ],
)
def test_what_is_too_much_or_nothing_is_refused_with_words(serve, message, why):
    running = serve(session_bytes=2000)
    with connect(running.port) as link:
        probe = greeted(link)
        probe.write(message.pack())
        with pytest.raises(LinkDownError, match="the server refused: ") as caught:
            probe.answer(message.kind if message.kind in wire.NAMES else wire.ECHO)
        assert why in str(caught.value)
    assert works(running.port)


def test_time_is_limited_too(serve):
    running = serve(session_s=0.2)
    with connect(running.port) as link:
        probe = greeted(link)
        time.sleep(0.3)
        probe.say(wire.ECHO, 1)
        with pytest.raises(LinkDownError, match=r"refused: a client has 0\.2 s"):
            probe.answer(wire.ECHO)


def test_too_many_connections_are_closed(serve):
    running = serve(connections=2, hello_s=1.0)
    links = [connect(running.port) for _ in range(3)]
    try:
        links[2].settimeout(2)
        assert links[2].recv(1) == b""
    finally:
        for link in links:
            link.close()
    assert works(running.port)


def test_another_version_gets_a_hello_and_a_stranger_not_a_byte(serve):
    running = serve()
    with connect(running.port) as link:
        link.sendall(wire.HELLO.pack(wire.MAGIC, 9))
        assert link.recv(100) == wire.hello() and link.recv(1) == b""
    with connect(running.port) as link:
        link.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert link.recv(1) == b""
    assert running.said("by protocol version 9") and running.said("speaks another protocol")


def test_it_stops(serve):
    running = serve()
    running.stop()
    assert not running.thread.is_alive()
