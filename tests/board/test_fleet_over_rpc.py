"""A profile over a tracker with two boards, which are servers on this machine: both work, and one may die."""

import os
import time

import pytest
from tvm.rpc.server import Server
from tvm.rpc.tracker import Tracker

from tests.profile.small_network import save
from tvm_split.errors import LinkDownError
from tvm_split.profile import collect as collecting
from tvm_split.profile.collect import Collector, Plan, collect
from tvm_split.profile.rpc import connect_all
from tvm_split.targets import load_target

KEY = "two-boards"
HOST = load_target("host")


@pytest.fixture
def boards():
    """Sessions on two servers behind a tracker, and the servers."""
    first = 21000 + os.getpid() % 20000
    tracker = Tracker("127.0.0.1", port=first, port_end=60000, silent=True)
    address = ("127.0.0.1", tracker.port)
    servers = [Server("127.0.0.1", first + 1, 60000, key=KEY, tracker_addr=address, silent=True) for _ in range(2)]
    sessions = []
    for _ in range(100):  # servers register in threads of their own
        try:
            sessions = connect_all(f"127.0.0.1:{tracker.port}", KEY, 5)
        except LinkDownError:
            pass
        if len(sessions) == 2:
            break
        for session in sessions:
            session.close()
        time.sleep(0.2)
    yield sessions, servers
    for session in sessions:
        session.close()
    for server in servers:
        server.terminate()
    tracker.terminate()


@pytest.fixture(autouse=True)
def no_sampled_shapes_and_any_noise(monkeypatch):
    monkeypatch.setattr(Collector, "_sampled", lambda self, shapes, seed: None)
    monkeypatch.setattr("tvm_split.profile.noise.NOISE", 1e9)
    monkeypatch.setattr("tvm_split.profile.fleet.SLOW", 1e9)  # this machine is both boards, and may be busy


def test_two_boards_share_a_profile(boards, tmp_path):
    sessions, _ = boards
    assert len(sessions) == 2
    records, outcome = collect(HOST, [str(save(tmp_path))], tmp_path / "a.jsonl", 2, remotes=sessions, key=KEY,
                               plan=Plan(cuts=2))  # fmt: skip
    integers = 2 if HOST.peak_int8_ops_per_s is not None else 0
    assert len(records.found) >= 6 and outcome.complete and not outcome.refused
    assert len(records.halves) == 3 + integers
    assert records.device["machine"] == f"board {KEY}"


def test_a_board_that_dies_is_named_and_the_other_finishes(boards, tmp_path):
    sessions, servers = boards
    said = []

    def say(text):
        said.append(text)
        if text.startswith("timing") and servers[0].proc is not None:
            servers[0].terminate()

    records, outcome = collect(HOST, [str(save(tmp_path))], tmp_path / "a.jsonl", 2, remotes=sessions, key=KEY,
                               say=say, plan=Plan(integers=False, cuts=3))  # fmt: skip
    assert len(records.found) == 3 and len(records.halves) == 5 and outcome.complete
    assert sum("is dropped: " in text for text in said) == 1


def test_when_all_boards_are_gone_what_was_timed_is_kept(boards, tmp_path):
    sessions, servers = boards

    def say(text):
        if text.startswith("timing"):
            for server in servers:
                server.terminate()

    with pytest.raises(LinkDownError):
        collect(HOST, [str(save(tmp_path))], tmp_path / "a.jsonl", 2, remotes=sessions, key=KEY, say=say,
                plan=Plan(integers=False, cuts=3))  # fmt: skip
    facts = collecting.device_facts(HOST, 0, KEY)
    assert len(collecting.Records(tmp_path / "a.jsonl", facts).found) == 3
