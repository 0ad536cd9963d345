"""Tuning end to end, with a few trials on layers that are quick to build: here, killed, and on a board."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tvm.rpc.server import Server
from tvm.rpc.tracker import Tracker

from tvm_split.errors import BuildError, LinkDownError, TargetError, TuneError
from tvm_split.profile.rpc import connect
from tvm_split.tune import trials
from tvm_split.tune.apply import facts
from tvm_split.tune.database import Database
from tvm_split.tune.measuring import Board
from tvm_split.tune.process import Process
from tvm_split.tune.tuner import TuneRequest, result_for, tune


class Watcher:
    """What it was told."""

    def __init__(self):
        self.seen = []

    def say(self, text):
        self.seen.append(text)

    def at(self, name, tried, wanted):
        self.seen.append((name, tried, wanted))


def tuned(model, folder, **options):
    request = TuneRequest(model, database=folder, **options)
    result, watcher = result_for(request), Watcher()
    tune(request, watcher, result)
    return result, watcher


def test_tunes_and_then_knows(one_layer, tmp_path, target):
    """Trials are made, a decision is kept, and asking for no more of them does nothing again; for more adds to them."""
    result, _ = tuned(one_layer, tmp_path / "db", trials=2)
    (row,) = result.rows
    assert not row.kept and row.decision.tried == 2 and row.decision.failed < 2 and row.decision.ours_s > 0
    assert row.decision.unequal == 0 and not result.crashes
    here = Database.open(tmp_path / "db").find(facts(target))
    assert here.decision(row.kernel.key) == row.decision

    again, watcher = tuned(one_layer, tmp_path / "db", trials=2)
    assert [(each.kept, each.decision) for each in again.rows] == [(True, row.decision)]
    assert not [each for each in watcher.seen if isinstance(each, tuple)]

    # half a line, as a killed process leaves it, is lost alone
    (records,) = here.folder.glob(f"{row.kernel.key}/*/{trials.RECORDS}")
    records.write_text(records.read_text() + records.read_text()[:100])
    more, watcher = tuned(one_layer, tmp_path / "db", trials=3)
    (grown,) = more.rows
    assert not grown.kept and grown.decision.tried == 3
    assert (row.kernel.name, 2, 3) in watcher.seen


def children(pid):
    """Processes that this one began, and those that they began."""
    try:
        found = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in children_of(task)]
    except FileNotFoundError:
        return []
    return [*found, *(each for child in found for each in children(child))]


def children_of(task):
    return (task / "children").read_text().split()


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, at_most_s=120):
    deadline = time.monotonic() + at_most_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_killed_tuner_goes_on_where_it_was(one_layer, tmp_path, target):
    """SIGKILL to the tuner: its search dies with it, its lock is free, its trials count."""
    folder = tmp_path / "db"
    command = [sys.executable, "-m", "tvm_split.cli", "tune", str(one_layer), "--trials", "400"]
    with subprocess.Popen([*command, "--database", str(folder)], stderr=subprocess.DEVNULL) as tuner:
        try:
            pattern = f"*/*/*/{trials.RECORDS}"
            (records,) = wait_for(
                lambda: tuner.poll() is not None or [f for f in folder.glob(pattern) if trials.read(f.parent)]
            )
            begun = children(tuner.pid)
        finally:
            tuner.kill()
    assert len(begun) > 1
    wait_for(lambda: not any(map(running, begun)))  # nobody writes any more
    before = trials.read(records.parent)
    result, watcher = tuned(one_layer, folder, trials=len(before) + 1)
    (row,) = result.rows
    assert row.decision.tried == len(before) + 1
    assert (row.kernel.name, len(before), len(before) + 1) in watcher.seen


def test_a_search_that_crashes_is_named_and_begun_again(one_layer, tmp_path, monkeypatch):
    asked, living = [], []
    ask = Process.ask

    def crashing(self, method, *args, **kwargs):
        asked.append(method)
        if method == "search" and asked.count("search") == 1:
            os.kill(self._worker._process.pid, signal.SIGSEGV)
        elif method == "search":  # something quicker
            return living.append(ask(self, "costs", args[:1]))
        return ask(self, method, *args, **kwargs)

    monkeypatch.setattr(Process, "ask", crashing)
    result, _ = tuned(one_layer, tmp_path / "db", trials=1)
    (crash,) = result.crashes
    assert crash.startswith(f"{result.rows[0].kernel.name}: the process of the tuning process was killed by SIGSEGV")
    assert asked == ["costs", "search", "search"] and len(living[0]) == 1


def test_a_search_that_fails_is_named_and_the_others_go_on(model, tmp_path, monkeypatch):
    ask = Process.ask

    def failing(self, method, *args, **kwargs):
        if method == "search":
            raise BuildError("the tuning process failed: TypeError: no")
        return ask(self, method, *args, **kwargs)

    monkeypatch.setattr(Process, "ask", failing)
    result, _ = tuned(model, tmp_path / "db", trials=1, layers=2)
    assert [crash.split(": ", 1)[1] for crash in result.crashes] == ["the tuning process failed: TypeError: no"] * 2
    assert [row.decision.reason for row in result.rows] == ["no trial could be built and run"] * 2


@pytest.fixture(scope="module")
def board():
    first = 20000 + os.getpid() % 20000
    tracker = Tracker("127.0.0.1", port=first, port_end=60000, silent=True)
    address = ("127.0.0.1", tracker.port)
    server = Server("127.0.0.1", first, 60000, key="here", tracker_addr=address, silent=True)
    board = Board(f"127.0.0.1:{tracker.port}", "here")
    for _ in range(100):
        try:
            connect(board.tracker, board.key, timeout_s=5).close()
            break
        except LinkDownError:
            time.sleep(0.1)
    yield board
    server.terminate()
    tracker.terminate()


def test_tunes_on_a_board(one_layer, tmp_path, board):
    result, _ = tuned(one_layer, tmp_path / "db", trials=2, board=board)
    (row,) = result.rows
    assert row.decision.tried == 2 and row.decision.failed == 0 and row.decision.ours_s > 0 and not result.crashes


def test_bad_requests_are_told_before_any_work(model, tmp_path, board):
    with pytest.raises(TuneError, match="trials is 0"):
        tuned(model, tmp_path / "db", trials=0)
    with pytest.raises(TuneError, match=r"share is 1\.5"):
        tuned(model, tmp_path / "db", share=1.5)
    with pytest.raises(TargetError, match=r"'raspberry-pi-4' is aarch64 .*: give --tracker and --key"):
        tuned(model, tmp_path / "db", target="raspberry-pi-4")
    with pytest.raises(TargetError, match="nowhere"):
        tuned(model, tmp_path / "db", target="nowhere")
    with pytest.raises(LinkDownError, match="no board with key 'there'"):
        tuned(model, tmp_path / "db", board=Board(board.tracker, "there"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = Board(f"127.0.0.1:{taken.getsockname()[1]}", "here")
        with pytest.raises(LinkDownError, match="cannot be reached"):
            tuned(model, tmp_path / "db", board=gone)
    assert not (tmp_path / "db").exists()
