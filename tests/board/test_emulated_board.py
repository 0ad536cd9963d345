"""What brings the emulated board up and down: it must end its own processes and no others. Needs no board."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def processes(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import board_processes

    return board_processes


def board(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(HERE / "emulated_board.py"), "--dir", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_ends_what_carries_the_token_and_nothing_else(processes, tmp_path):
    stranger = subprocess.Popen(SLEEP)
    try:
        started = processes.start([sys.executable, "-c", STUBBORN], {processes.TOKEN: "test-1"}, tmp_path / "log")
        while "ready" not in (tmp_path / "log").read_text():
            assert processes.alive(started)
        assert processes.end_all("test-1", patience_s=0.5) == 2  # the child in a session of its own is found as well
        assert not processes.alive(started) and processes.carrying("test-1") == {}
        assert stranger.poll() is None
        assert processes.end_all("test-1") == 0
    finally:
        stranger.kill()
        stranger.wait()


def test_a_number_used_again_is_not_ours(processes, tmp_path):
    started = processes.start(SLEEP, {processes.TOKEN: "test-2"}, tmp_path / "log")
    assert processes.alive(started)
    assert not processes.alive({**started, "start": started["start"] - 1})
    assert not processes.alive(None)
    processes.end_all("test-2")
    assert not processes.alive(started)


def test_a_taken_port_is_left_alone(processes):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert processes.free_port(port) != port
    assert processes.free_port(port) == port


def test_status_of_an_empty_folder(tmp_path):
    done = board(tmp_path / "none", "status")
    assert done.returncode == 1 and "`up` brings it up" in done.stdout
    assert not (tmp_path / "none").exists()


def test_state_of_another_boot_is_not_believed(tmp_path):
    (tmp_path / "state.json").write_text(
        json.dumps({"boot_id": "another", "processes": {"tracker": {"pid": 1, "start": 0}}})
    )
    assert "tracker  does not run" in board(tmp_path, "status").stdout


def test_damaged_state_is_an_error(tmp_path):
    (tmp_path / "state.json").write_text("{")
    done = board(tmp_path, "down")
    assert done.returncode == 2 and "state.json is damaged" in done.stderr
