"""Hidden folders beside what they become, locked while their process lives; those of killed processes are removed.

    .bundle.tvm-split-new-attic-k3x9q0ab     a bundle that is being written by a process on the machine "attic"
    .bundle.tvm-split-old-attic-m1z7c2de     the bundle that it replaces

A lock (flock) is on the folder itself, and the system lifts it when its process ends, however that ends. Where the file
system has no locks, nothing is ever removed. On a shared mount the locks may be of one machine alone, so a machine
removes only folders that have its own name; two machines of one name could remove each other's there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tvm_split.manifest import MANIFEST

Kind = Literal["new", "old"]
#: what `tempfile` ends a name with
RANDOM = "[a-z0-9_]{8}"


@contextmanager
def locked_folder(path: Path, kind: Kind) -> Iterator[Path]:
    """A new folder beside `path`, locked during the block, which has to remove or rename it. OSError when it cannot be
    made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path, kind), dir=path.parent))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # taken for a stale one before it was opened
            continue
        with suppress(OSError):  # no locks here
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            break
        os.close(lock)  # taken for a stale one before it was locked
    try:
        yield folder
    finally:
        os.close(lock)


def remove_stale(path: Path) -> None:
    """Remove the folders that this machine's killed processes left beside `path`; an "old" one only where there is a
    whole bundle at `path`, since it may hold the only one."""
    with suppress(OSError):  # a folder that is not there, or that cannot be read
        for folder in [*path.parent.iterdir()]:
            if re.fullmatch(re.escape(_prefix(path, "new")) + RANDOM, folder.name):
                _remove_unless_held(folder, lambda: True)
            elif re.fullmatch(re.escape(_prefix(path, "old")) + RANDOM, folder.name):
                _remove_unless_held(folder, (path / MANIFEST).is_file)


def _prefix(path: Path, kind: Kind) -> str:
    host = re.sub("[^A-Za-z0-9.-]", "-", os.uname().nodename)
    return f".{path.name}.tvm-split-{kind}-{host}-"


def _remove_unless_held(folder: Path, wanted: Callable[[], bool]) -> None:
    """`wanted` is asked once the folder is locked: by then its process has done what it meant to do."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # no folder, another user's, or gone by now
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if wanted():
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its process lives, or there are no locks here
        pass
    finally:
        os.close(lock)
