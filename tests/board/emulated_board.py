"""An emulated aarch64 board on this machine, answering TVM's RPC tracker.

    eval "$(python tests/board/emulated_board.py up)"     # fetch what is missing, start, print the two exports
    python tests/board/emulated_board.py status
    python tests/board/emulated_board.py run -- pytest tests/board
    python tests/board/emulated_board.py down             # keeps the downloads; --purge deletes them

Needs Debian bookworm; root too, unless the kernel runs aarch64 programs already. The system's package lists and
architectures stay as they are (no `dpkg --add-architecture`): what changes outside the folder is one binfmt_misc entry, taken
away by `down`. The board is for correctness, artefact size and the RPC path: emulated time is not ARM time.
A module that crashes its RPC session ends TVM's RPC server as well: `up` starts it again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import board_kernel
import board_processes
from board_files import BoardError, prepare
from tracker_client import servers

KEY = "rasp4b"
CPUS = ("cortex-a72", "cortex-a76", "max")


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
                "this machine is aarch64 itself: start `python3 -m tvm.exec.rpc_tracker` and `python3 -m tvm.exec.rpc_server "
                f"--tracker HOST:PORT --key {key}` on it, and set TVM_SPLIT_TRACKER and TVM_SPLIT_EDGE_KEY"
            )
        state = self.load()
        if self.registered(state):
            if (state["key"], state["cpu"]) != (key, cpu):
                raise BoardError(
                    f"the board in {self.folder} is up with --key {state['key']} --cpu {state['cpu']}, not --key {key} --cpu {cpu}: "
                    "run `down` first, or give another --dir"
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
        }
        self.save(state)
        interpreter = str(self.folder / "root/usr/bin/python3.11")
        state["mounted"] |= board_kernel.enable(self.folder, [interpreter, "--version"], self.env(state))
        state["processes"] = {}
        self.start_tracker(state)
        state["processes"]["server"] = board_processes.start(
            [interpreter, "-m", "tvm.exec.rpc_server", "--host", "127.0.0.1", "--key", key]
            + ["--port", str(port := board_processes.free_port()), "--port-end", str(port + 100)]
            + ["--tracker", f"127.0.0.1:{state['port']}"],
            self.env(state),
            self.folder / "server.log",
        )
        self.save(state)
        say(f"server: starting on an emulated {cpu}")
        self.wait("server", state, lambda: self.registered(state), timeout_s)
        return state

    def start_tracker(self, state: dict[str, Any]) -> None:
        """Start the tracker on a free port; another one when somebody takes that port first."""
        env = {**os.environ, board_processes.TOKEN: state["token"]}
        for last in (False, False, True):
            state["port"] = port = board_processes.free_port()
            command = [sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1", "--port", str(port)]
            command += ["--port-end", str(port + 1)]
            state["processes"]["tracker"] = board_processes.start(command, env, self.folder / "tracker.log")
            self.save(state)
            try:
                return self.wait("tracker", state, lambda: self.answers(state), timeout_s=60)
            except BoardError:
                if last:
                    raise

    def answers(self, state: dict[str, Any]) -> bool:
        with contextlib.suppress(OSError):
            servers("127.0.0.1", state["port"])
            return True
        return False

    def wait(self, name: str, state: dict[str, Any], ready: Any, timeout_s: float) -> None:
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


def exports(state: dict[str, Any]) -> dict[str, str]:
    return {"TVM_SPLIT_TRACKER": f"127.0.0.1:{state['port']}", "TVM_SPLIT_EDGE_KEY": state["key"]}


def status(board: Board) -> int:
    """Print what there is; 0 when the board answers, 1 otherwise."""
    state = board.load()
    for name in ("qemu", "root", "site"):
        print(f"{name:8s} {'there' if (board.folder / name / '.recipe').exists() else 'missing'}")
    for name in ("tracker", "server"):
        process = state.get("processes", {}).get(name)
        print(
            f"{name:8s} {'runs as process ' + str(process['pid']) if board_processes.alive(process) else 'does not run'}"
        )
    if board.registered(state):
        print(f"board    up: {state['cpu']}, " + " ".join(f"{name}={value}" for name, value in exports(state).items()))
        return 0
    print("board    down: `up` brings it up")
    return 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TVM_SPLIT_BOARD_DIR") or "~/.cache/tvm-split/board"
    made.add_argument(
        "--dir", type=Path, default=Path(default), help="the board's folder (TVM_SPLIT_BOARD_DIR; %(default)s)"
    )
    verbs = made.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="fetch what is missing, start, print the exports; does nothing when it is up")
    run = verbs.add_parser("run", help="run a command with the board up; take it down again if it was not up before")
    for verb in (up, run):
        verb.add_argument("--key", default=KEY, help="the board's key at the tracker (%(default)s)")
        verb.add_argument("--cpu", choices=CPUS, default=CPUS[0], help="the processor to emulate (%(default)s)")
        verb.add_argument("--timeout", type=float, default=180, metavar="S", help="wait for the server (%(default)s s)")
    run.add_argument("command", nargs="+", metavar="-- CMD", help="the command, after --")
    down = verbs.add_parser("down", help="end the board's processes and undo the binfmt_misc entry")
    down.add_argument("--purge", action="store_true", help="delete the folder with its downloads, too")
    verbs.add_parser("status", help="say what there is; exit status 0 when the board answers")
    return made


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    board = Board(args.dir)
    try:
        if args.verb == "status":
            return status(board)
        if args.verb == "down":
            with board.locked():
                board.down(args.purge)
            return 0
        with board.locked():
            was_up = board.registered(board.load())
            state = board.up(args.key, args.cpu, args.timeout)
        if args.verb == "up":
            print("export " + " ".join(f"{name}={value}" for name, value in exports(state).items()))
            return 0
        try:
            return subprocess.run(args.command, env={**os.environ, **exports(state)}, check=False).returncode
        finally:
            if not was_up:
                with board.locked():
                    board.down(purge=False)
    except (BoardError, OSError) as error:
        print(f"emulated_board.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
