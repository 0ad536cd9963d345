"""Make the kernel run aarch64 programs through QEMU (binfmt_misc), and undo it.

TVM's RPC server starts child processes by exec, so it is not enough to start the first one under qemu by hand.
Each board folder has an entry of its own name: boards in two folders do not take each other's away.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from board_files import BoardError, call

BINFMT = Path("/proc/sys/fs/binfmt_misc")
PREFIX = "tvm-split-"
MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def entry_name(folder: Path) -> str:
    return PREFIX + hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]


def runs(command: list[str], env: dict[str, str]) -> str | None:
    """None when the command runs; else why it does not."""
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else f"exit status {done.returncode}: {done.stdout[-500:]}"


def enable(folder: Path, probe: list[str], env: dict[str, str]) -> bool:
    """Make `probe` (an aarch64 command) run. True when binfmt_misc had to be mounted for it.

    An entry that the machine already has for aarch64 (Debian's own package makes one) is used as it is.
    """
    own = BINFMT / entry_name(folder)
    ours = list(BINFMT.glob(PREFIX + "*"))
    if own not in ours and not ours and runs(probe, env) is None:
        return False
    mounted = False
    if own not in ours:
        if os.geteuid() != 0:
            raise BoardError(
                "this kernel does not run aarch64 programs yet, and only root may register qemu with binfmt_misc: run "
                "as root, or have an administrator `apt-get install qemu-user-static binfmt-support`"
            )
        if not (BINFMT / "register").exists():
            call(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], "mounting binfmt_misc")
            mounted = True
        qemu = folder / "qemu" / "qemu-aarch64-static"
        line = b":".join([b"", own.name.encode(), b"M", b"", MAGIC, MASK, os.fsencode(qemu.resolve()), b"OCF"])
        try:
            (BINFMT / "register").write_bytes(line)
        except OSError as error:
            raise BoardError(
                f"binfmt_misc refused the entry {own.name} for {qemu} ({error}): the path must be short and without ':'"
            ) from error
    if why := runs(probe, env):
        raise BoardError(
            f"{' '.join(probe)} does not run under {folder}/qemu: {why}; run `down --purge`, then `up` again"
        )
    return mounted


def disable(folder: Path, unmount: bool) -> None:
    """Take this folder's entry away, and binfmt_misc too when `unmount` and nobody else has an entry."""
    own = BINFMT / entry_name(folder)
    if own.exists():
        own.write_bytes(b"-1")
    if unmount and BINFMT.exists() and not {path.name for path in BINFMT.iterdir()} - {"register", "status"}:
        subprocess.run(["umount", str(BINFMT)], check=False)
