"""Frames survive the way, and no bytes of a stranger hang a half or make it allocate what it did not expect."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.errors import BundleError, LinkDownError, SplitError
from tvm_split.runtime import wire

PRINT = "ab" * 32


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def channel(link, timeout_s=2.0):
    return wire.Channel(link, "the peer", timeout_s)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.sampled_from([wire.PAYLOAD, wire.WARM_UP, wire.RESULT]), st.binary(max_size=5000))
def test_a_frame_survives_the_way(number, kind, data):
    left, right = socket.socketpair()
    with left, right:
        channel(left).send(number, kind, data)
        found = channel(right).receive({kind: len(data)}, number)
    assert (found.number, found.kind, bytes(found.data)) == (number, kind, data)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_raise_and_never_hang(data):
    for read in (
        lambda peer: peer.greet(PRINT),
        lambda peer: peer.receive({wire.PAYLOAD: 300}),
        lambda peer: peer.receive({wire.RESULT: 400, wire.ERROR: 0}, 1),
    ):
        left, right = socket.socketpair()
        with right:
            with left:
                left.sendall(data)
            with pytest.raises(SplitError):
                read(channel(right))


@given(st.integers(0, 2**64 - 1))
def test_another_length_is_refused_unread(length):
    left, right = socket.socketpair()
    with left, right:
        left.sendall(wire.HEADER.pack(1, wire.PAYLOAD, length))
        if length != 5:
            with pytest.raises(BundleError, match=f"announced {length} bytes of PAYLOAD, this bundle's is 5"):
                channel(right).receive({wire.PAYLOAD: 5})


def test_hellos_of_one_bundle_agree(pair):
    with ThreadPoolExecutor() as pool:
        other = pool.submit(channel(pair[0]).greet, PRINT)
        channel(pair[1]).greet(PRINT)
        assert other.result() is None


def test_another_fingerprint_is_refused_naming_both(pair):
    pair[0].sendall(wire.hello("cd" * 32))
    with pytest.raises(BundleError, match=f"{'cd' * 32}, this side {PRINT}"):
        channel(pair[1]).greet(PRINT)


@pytest.mark.parametrize("bad", ["", "x" * 256, "é"])
def test_a_fingerprint_must_fit(bad):
    with pytest.raises(BundleError, match="1 to 255 ASCII"):
        wire.hello(bad)


def test_a_stranger_is_named(pair):
    pair[0].sendall(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(LinkDownError, match="no half of a tvm-split bundle"):
        channel(pair[1]).greet(PRINT)


def test_another_version_is_refused(pair):
    pair[0].sendall(wire.HELLO.pack(wire.MAGIC, 9, 0))
    with pytest.raises(BundleError, match="version 9, this side 1"):
        channel(pair[1]).greet(PRINT)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (wire.frame(2, wire.RECEIVED, b""), "number 2, expected 1"),
        (wire.frame(1, wire.PAYLOAD, b""), "kind PAYLOAD, expected RECEIVED"),
        (wire.frame(1, 77, b""), "kind 77"),
        (wire.HEADER.pack(1, wire.ERROR, 2**40), "error text"),
    ],
)
def test_frames_out_of_turn(pair, sent, message):
    pair[0].sendall(sent)
    with pytest.raises(LinkDownError, match=message):
        channel(pair[1]).receive({wire.RECEIVED: 0, wire.ERROR: 0}, 1)


def test_silence_ends_at_the_deadline(pair):
    begin = time.monotonic()
    with pytest.raises(LinkDownError, match=r"within 0\.1 s"):
        channel(pair[1], 0.1).receive({wire.PAYLOAD: 3})
    assert time.monotonic() - begin < 2


def test_a_trickle_does_not_stretch_the_deadline(pair):
    def trickle():
        for byte in wire.frame(1, wire.PAYLOAD, bytes(1000)):
            pair[0].sendall(bytes([byte]))
            time.sleep(0.02)

    with ThreadPoolExecutor() as pool:
        sender = pool.submit(trickle)
        with pair[1], pytest.raises(LinkDownError, match=r"within 0\.3 s"):
            channel(pair[1], 0.3).receive({wire.PAYLOAD: 1000})
        with pytest.raises(BrokenPipeError):  # it was still sending when this end was closed
            sender.result()


def test_writing_to_a_gone_peer(pair):
    pair[1].close()
    with pytest.raises(LinkDownError, match="cannot be written to"):
        channel(pair[0]).send(1, wire.PAYLOAD, bytes(10))
