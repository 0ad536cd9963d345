"""An emulated aarch64 board on this machine, answering TVM's RPC tracker.

    eval "$(python tests/board/emulated_board.py up)"     # fetch what is missing, start, print the two exports
    python tests/board/emulated_board.py status
    python tests/board/emulated_board.py run -- pytest tests/board
    python tests/board/emulated_board.py down             # keeps the downloads; --purge deletes them

Needs Debian bookworm; root too, unless the kernel runs aarch64 programs already. The system's package lists and
architectures stay as they are (no `dpkg --add-architecture`): what changes outside the folder is one binfmt_misc entry,
taken away by `down`. The board is for correctness, artefact size and the RPC path: emulated time is not ARM time.
A module that crashes its RPC session ends TVM's RPC server as well: `up` starts it again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import board_processes
from board_files import BoardError
from board_life import Board

KEY = "rasp4b"
CPUS = ("cortex-a72", "cortex-a76", "max")


def exports(state: dict[str, Any]) -> dict[str, str]:
    return {"TVM_SPLIT_TRACKER": f"127.0.0.1:{state['port']}", "TVM_SPLIT_EDGE_KEY": state["key"]}


def status(board: Board) -> int:
    """Print what there is; 0 when the board answers, 1 otherwise."""
    state = board.load()
    for name in ("qemu", "root", "site"):
        print(f"{name:8s} {'there' if (board.folder / name / '.recipe').exists() else 'missing'}")
    for name in ("tracker", "server"):
        process = state.get("processes", {}).get(name)
        said = f"runs as process {process['pid']}" if board_processes.alive(process) else "does not run"
        print(f"{name:8s} {said}")
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
