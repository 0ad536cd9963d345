"""A link of known rate is measured as what it is; noise and strangers are refused."""

import socket
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tvm_split.errors import LinkDownError
from tvm_split.plan.problem import Link
from tvm_split.runtime import link_probe
from tvm_split.runtime import link_wire as wire
from tvm_split.runtime.link_probe import measure_link
from tvm_split.spread import spread_of

#: 2 Mbit/s up, 4 Mbit/s down: slow enough for a busy machine to keep
SLOW = Link("slow", 250_000, 500_000, 0.02)


def test_a_shaped_link_is_measured(serve, relay):
    said = []
    port = relay(serve().port, SLOW)
    found = measure_link("127.0.0.1", port, seconds=1.0, max_spread=2.0, say=said.append)
    assert 0.5 * SLOW.up_bytes_per_s < found.up.bytes_per_s < 1.5 * SLOW.up_bytes_per_s
    assert 0.5 * SLOW.down_bytes_per_s < found.down.bytes_per_s < 1.5 * SLOW.down_bytes_per_s
    assert SLOW.rtt_s <= found.rtt_s < 10 * SLOW.rtt_s
    assert found.pings >= 5 and found.up.transfers == found.down.transfers == 7
    # a transfer takes 10 round trips at least, which is longer than a seventh of the second
    assert found.up.size_bytes > 5 * SLOW.rtt_s * SLOW.up_bytes_per_s
    assert found.peer == f"127.0.0.1:{port}" and any("rate up" in line for line in said)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a path's MTU")
def test_the_path_mtu_is_told_on_linux(serve):
    found = measure_link("127.0.0.1", serve().port, seconds=0.1, max_spread=100)
    assert 500 < found.path_mtu_bytes <= 65536


def test_where_the_system_does_not_tell_the_mtu_is_unknown(serve, monkeypatch):
    monkeypatch.setattr(link_probe.sys, "platform", "darwin")
    assert measure_link("127.0.0.1", serve().port, seconds=0.1, max_spread=100).path_mtu_bytes is None


class Moves:
    """Stands for transfers: their rates in turn, in bytes a second, on a clock of its own."""

    def __init__(self, monkeypatch, rates):
        self.rates, self.sizes, self.now = list(rates), [], 0.0
        monkeypatch.setattr(link_probe.time, "monotonic", lambda: self.now)

    def __call__(self, size):
        rate = self.rates.pop(0) if len(self.rates) > 1 else self.rates[0]
        self.sizes.append(size)
        self.now += size / rate
        return wire.Seen(size, size / rate)


def test_transfers_grow_until_they_are_long_enough(monkeypatch):
    moves = Moves(monkeypatch, [1e6])
    size, seen = link_probe._long_enough(moves, 0.5)
    assert 0.7 * 0.5e6 <= size <= 2 * 0.5e6 and seen.bytes_per_s == pytest.approx(1e6)
    assert all(1.9 < b / a <= 8.1 for a, b in zip(moves.sizes, moves.sizes[1:], strict=False))
    moves = Moves(monkeypatch, [1e15])
    assert link_probe._long_enough(moves, 0.5)[0] == wire.MOST_BYTES == max(moves.sizes)


def test_the_rate_is_the_median(monkeypatch):
    found = link_probe._rate(Moves(monkeypatch, [1e6, 1e6, 1e6, 1e6] * 9), "up", 0.01, 0.3, lambda _: None)
    assert found.bytes_per_s == pytest.approx(1e6) and found.spread == pytest.approx(0, abs=1e-9)


def test_noise_is_repeated_and_then_refused_with_the_figures(monkeypatch):
    said = []
    moves = Moves(monkeypatch, [1e6] + [1e5, 1e6, 1e7] * 20)
    with pytest.raises(LinkDownError, match=r"the rate up is noise: (.* with a spread of \d+%, ){2}.*at most 30% is"):
        link_probe._rate(moves, "up", 0.001, 0.3, said.append)
    assert sum("above 30%" in line for line in said) == link_probe.ROUNDS


def test_a_rate_that_calms_down_is_taken(monkeypatch):
    moves = Moves(monkeypatch, [1e6] + [1e5, 1e6, 1e7, 1e5, 1e6, 1e7, 1e6] + [2e6] * 7)
    found = link_probe._rate(moves, "up", 0.003, 0.3, lambda _: None)
    assert found.bytes_per_s == pytest.approx(2e6)


def test_the_spread_is_the_quartiles():
    assert spread_of([1, 1, 1, 1, 100]) == 0
    assert spread_of([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
    assert spread_of([0, 0, 0]) == 0


def measure(port):
    return measure_link("127.0.0.1", port, seconds=0.1)


def test_nobody_there(stranger):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LinkDownError, match=rf"nobody answers at 127\.0\.0\.1:{port} \(.*tvm-split link --serve"):
        measure(port)
    with pytest.raises(LinkDownError, match=r"'no\.such\.host\.invalid' is no host that can be found"):
        measure_link("no.such.host.invalid", 80)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks another protocol: it began with b'HTTP'"),
        (b"TVSP\x01\x00\x40", "speaks another protocol: it began with b'TVSP'"),
        (wire.HELLO.pack(wire.MAGIC, 3), "by protocol version 3, this side by 1"),
        (b"", r"closed the connection in its hello \(0 of 6 bytes came\); is it `tvm-split link --serve`"),
        (wire.hello(), r"closed the connection in its next message"),
        (wire.hello() + wire.Message(wire.ECHO, 7).pack(), "answered ECHO 7, expected ECHO 0; the stream is damaged"),
        (wire.hello() + wire.Message(wire.REFUSED, 2**60).pack() + b"no\x1b[2J" * 300, r"refused: no\?\[2Jno"),
    ],
)
def test_another_protocol_is_named(stranger, answer, message):
    def work(client):
        client.recv(6)
        client.sendall(answer)
        client.shutdown(1)
        client.recv(100)

    with pytest.raises(LinkDownError, match=message):
        measure(stranger(work))


def test_a_server_that_says_nothing_is_given_up(stranger, monkeypatch):
    monkeypatch.setattr(link_probe, "ANSWER_S", 0.2)
    with pytest.raises(LinkDownError, match=r"did not send its hello within 0\.2 s .*is it `tvm-split link --serve`"):
        measure(stranger(lambda client: client.recv(10**6) and client.recv(1)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_bytes_of_a_stranger_raise_and_nothing_else(stranger, data):
    def work(client):
        client.recv(6)
        client.sendall(wire.hello() + data)

    with pytest.raises(LinkDownError):
        measure(stranger(work))


@pytest.mark.parametrize(("counted", "nanoseconds"), [(4096, 5), (10, 0), (0, 10), (2**63, 2**63)])
def test_a_count_that_cannot_be_is_refused(stranger, counted, nanoseconds):
    def work(client):
        server = wire.Probe(client, "client", 5.0)
        server.hear()
        server.say(wire.UP, 4096)
        server.read(4096, "bytes")
        server.say(wire.SEEN, counted, nanoseconds)

    with socket.create_connection(("127.0.0.1", stranger(work))) as link:
        with pytest.raises(LinkDownError, match=f"says that {counted} of 4096 bytes came in {nanoseconds} ns"):
            link_probe.send_up(wire.Probe(link, "server", 5.0), 4096)
