"""Messages survive the way, and whatever else comes is refused by name, without hanging or allocating for it."""

import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.errors import LinkDownError
from tvm_split.runtime import link_wire as wire

numbers = st.integers(0, 2**64 - 1)


@given(st.sampled_from([wire.ECHO, wire.SEEN, wire.END, wire.REFUSED]), numbers, numbers)
def test_a_message_reads_back(kind, number, value):
    message = wire.Message(kind, number, value)
    assert wire.parse(message.pack(), "peer") == message


@given(st.sampled_from([wire.UP, wire.DOWN]), numbers)
def test_a_transfer_has_a_size(kind, size):
    data = wire.Message(kind, size).pack()
    if 0 < size <= wire.MOST_BYTES:
        assert wire.parse(data, "peer").number == size
    else:
        with pytest.raises(LinkDownError, match=f"peer asks for a transfer of {size} bytes; 1 to {wire.MOST_BYTES}"):
            wire.parse(data, "peer")


@given(st.binary(min_size=wire.MESSAGE.size, max_size=wire.MESSAGE.size))
def test_any_bytes_are_a_message_or_an_error(data):
    try:
        found = wire.parse(data, "peer")
    except LinkDownError as error:
        assert str(error).startswith("peer ")
    else:
        assert found.pack() == data and found.kind in wire.NAMES


@given(st.binary(min_size=wire.HELLO.size, max_size=wire.HELLO.size))
def test_only_our_hello_is_one(data):
    if data == wire.hello():
        return
    with pytest.raises(LinkDownError, match=r"peer (speaks another protocol|measures links by protocol version)"):
        wire.parse_hello(data, "peer")


def test_another_version_is_told():
    with pytest.raises(LinkDownError, match="by protocol version 7, this side by 1; install one tvm-split on both"):
        wire.parse_hello(struct.pack("<4sH", b"TVSL", 7), "peer")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_raise_and_never_hang(data):
    for read in (
        lambda probe: probe.welcome() or probe.hear(),
        lambda probe: probe.answer(wire.SEEN),
        lambda probe: probe.drain(300, time.monotonic() + 2),
    ):
        left, right = socket.socketpair()
        with right:
            with left:
                left.sendall(data)
            try:
                read(wire.Probe(right, "peer", 2.0))
            except LinkDownError as error:
                assert "peer" in str(error)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3 * wire.BUFFER))
def test_every_byte_is_counted(size):
    left, right = socket.socketpair()
    with left, right:
        deadline = time.monotonic() + 20
        sender = threading.Thread(target=wire.Probe(left, "peer", 20).pour, args=(size, deadline))
        sender.start()
        seen = wire.Probe(right, "peer", 20).drain(size, deadline)
        sender.join()
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            right.recv(1)
    assert 0 <= seen.counted <= size - size // 4
    assert (seen.counted == 0) == (seen.seconds == 0.0)


def test_a_transfer_that_stops_is_told_with_what_came():
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x" * 100)
        with pytest.raises(LinkDownError, match=r"did not send the bytes of a transfer .*100 of 300 bytes came"):
            wire.Probe(right, "peer", 0.1).drain(300, time.monotonic() + 0.1)
        with pytest.raises(LinkDownError, match="peer took 0 of 300 bytes in the time for one transfer"):
            wire.Probe(left, "peer", 0.1).pour(300, time.monotonic() - 1)
