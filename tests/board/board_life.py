"""The life of an emulated board: up, registered at its tracker, down. Its folder holds its state: any process may ask.

`up` goes on where an interrupted one stopped: the state, with the token that finds processes, is written before they
start.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import board_kernel
import board_processes
from board_files import BoardError, prepare
from tracker_client import servers


def say(text: str) -> None:
    print(f"board: {text}", file=sys.stderr, flush=True)


class Board:
    """The board that lives in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        self.state_file = self.folder / "state.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def load(self) -> dict[str, Any]:
        """The state of the last `up`; empty when there was none since this machine was started."""
        try:
            state = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return {}
        except json.JSONDecodeError as error:
            raise BoardError(
                f"{self.state_file} is damaged ({error}): delete it and end the board's processes by hand"
            ) from error
        return state if state["boot_id"] == board_processes.boot_id() else {}

    def save(self, state: dict[str, Any]) -> None:
        partial = self.state_file.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2) + "\n")
        partial.replace(self.state_file)

    def registered(self, state: dict[str, Any]) -> bool:
        """Whether both processes live and the tracker lists the board."""
        processes = state.get("processes", {})
        if not all(board_processes.alive(processes.get(name)) for name in ("tracker", "server")):
            return False
        with contextlib.suppress(OSError):
            return state["key"] in servers("127.0.0.1", state["port"])
        return False

    def env(self, state: dict[str, Any]) -> dict[str, str]:
        """What the board's processes see. Nothing of the caller's Python reaches them."""
        board_tmp = self.folder / "tmp"
        board_tmp.mkdir(exist_ok=True)
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(board_tmp),
            "TMPDIR": str(board_tmp),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.folder / "site"),
            "QEMU_LD_PREFIX": str(self.folder / "root"),
            "QEMU_CPU": state["cpu"],
            board_processes.TOKEN: state["token"],
        }

    def up(self, key: str, cpu: str, timeout_s: float) -> dict[str, Any]:
        """Bring the board up, or find it up. Returns its state."""
        if platform.machine() == "aarch64":
            raise BoardError(
                "this machine is aarch64 itself: start `python3 -m tvm.exec.rpc_tracker` and `python3 -m "
                f"tvm.exec.rpc_server --tracker HOST:PORT --key {key}` on it, and set TVM_SPLIT_TRACKER "
                "and TVM_SPLIT_EDGE_KEY"
            )
        state = self.load()
        if self.registered(state):
            if (state["key"], state["cpu"]) != (key, cpu):
                raise BoardError(
                    f"the board in {self.folder} is up with --key {state['key']} --cpu {state['cpu']}, not --key {key} "
                    f"--cpu {cpu}: run `down` first, or give another --dir"
                )
            return state
        self.end_processes(state)
        prepare(self.folder, say)
        state = {
            "boot_id": board_processes.boot_id(),
            "key": key,
            "cpu": cpu,
            "token": secrets.token_hex(16),
            "mounted": state.get("mounted", False),
            "port": board_processes.free_port(state.get("port", 0)),
        }
        self.save(state)
        interpreter = str(self.folder / "root/usr/bin/python3.11")
        state["mounted"] |= board_kernel.enable(self.folder, [interpreter, "--version"], self.env(state))
        state["processes"] = {}
        self.start_tracker(state)
        state["processes"]["server"] = board_processes.start(
            [interpreter, *server_arguments(key, state["port"])], self.env(state), self.folder / "server.log"
        )
        self.save(state)
        say(f"server: starting on an emulated {cpu}")
        self.wait("server", state, lambda: self.registered(state), timeout_s)
        return state

    def start_tracker(self, state: dict[str, Any]) -> None:
        """Start the tracker on the port it had, so that exports stay true, or on a free one."""
        env = {**os.environ, board_processes.TOKEN: state["token"]}
        for last in (False, False, True):
            port = state["port"]
            command = [sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", str(port)]
            command += ["--port-end", str(port + 1)]
            state["processes"]["tracker"] = board_processes.start(command, env, self.folder / "tracker.log")
            self.save(state)
            try:
                return self.wait("tracker", state, lambda: self.answers(state), timeout_s=60)
            except BoardError:
                if last:
                    raise
                state["port"] = board_processes.free_port()

    def answers(self, state: dict[str, Any]) -> bool:
        with contextlib.suppress(OSError):
            servers("127.0.0.1", state["port"])
            return True
        return False

    def wait(self, name: str, state: dict[str, Any], ready: Callable[[], bool], timeout_s: float) -> None:
        """Poll until ready(). BoardError with the end of the log when the process ends or time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            dead = not board_processes.alive(state["processes"][name])
            if dead or time.monotonic() > deadline:
                log = self.folder / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                what = "ended" if dead else f"was not ready within {timeout_s:g} s (--timeout gives it longer)"
                raise BoardError(f"the RPC {name} {what}; the end of {log}:\n{tail}")
            time.sleep(0.25)

    def end_processes(self, state: dict[str, Any]) -> int:
        if not state:
            return 0
        count = board_processes.end_all(state["token"])
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        return count

    def down(self, purge: bool) -> None:
        state = self.load()
        count = self.end_processes(state)
        board_kernel.disable(self.folder, unmount=state.get("mounted", False))
        self.state_file.unlink(missing_ok=True)
        say(f"down ({count} processes ended)")
        if purge:
            shutil.rmtree(self.folder)
            say(f"deleted {self.folder}")


def server_arguments(key: str, tracker_port: int) -> list[str]:
    port = board_processes.free_port()
    arguments = ["-m", "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 100)]
    return [*arguments, "--tracker", f"127.0.0.1:{tracker_port}", "--key", key]
