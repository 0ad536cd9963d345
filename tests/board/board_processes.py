"""Start processes that outlive this script, and end those and no others.

A process is known by its id, its start time (ticks since boot, from /proc) and the boot id, so a number used again by
another program is never taken for ours. Every process also carries a random token in its environment, which finds the
children of a server that died before them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TOKEN = "TVM_SPLIT_BOARD_TOKEN"


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When the process started, in ticks since boot; None when there is none or only its zombie is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def start(command: list[str], env: dict[str, str], log: Path) -> dict[str, int]:
    """Start a command in a session of its own, its output going to `log`; {"pid", "start"} to remember it by.

    It runs in the log's folder, so that `python -m` does not pick up packages from where the caller stands.
    """
    with log.open("wb") as out:
        made = subprocess.Popen(
            command,
            env=env,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return {"pid": made.pid, "start": start_ticks(made.pid) or -1}


def alive(process: dict[str, int] | None) -> bool:
    return process is not None and start_ticks(process["pid"]) == process["start"]


def carrying(token: str) -> dict[int, int]:
    """Start ticks by id of every living process with our token in its environment."""
    wanted = f"{TOKEN}={token}".encode()
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (place / "environ").read_bytes().split(b"\0") and (ticks := start_ticks(int(place.name))):
                found[int(place.name)] = ticks
        except OSError:
            continue  # it has just ended, or belongs to another user
    return found


def end_all(token: str, patience_s: float = 5.0) -> int:
    """End every process that carries the token: asked first, killed after `patience_s`. Returns how many there were."""
    ours = carrying(token)
    deadline = time.monotonic() + patience_s
    _signal(ours, signal.SIGTERM)
    # A process that is ending loses its environment before it closes its ports: wait for the process itself.
    while (left := carrying(token)) or any(start_ticks(pid) == ticks for pid, ticks in ours.items()):
        ours |= left
        if time.monotonic() > deadline:
            _signal(left, signal.SIGKILL)
        time.sleep(0.05)
    return len(ours)


def _signal(processes: dict[int, int], number: int) -> None:
    for pid, ticks in processes.items():
        if start_ticks(pid) == ticks:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def free_port(wished: int = 0) -> int:
    """The wished port when it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wished))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
