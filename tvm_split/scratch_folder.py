"""Hidden folders beside what they become, locked while their process lives; those of killed processes are removed.

    .bundle.tvm-split-new-k3x9q0ab     a bundle that is being written
    .bundle.tvm-split-old-m1z7c2de     the bundle that it replaces

A lock (flock) is on the folder itself, and the system lifts it when its process ends, however that ends. Where the file
system has no locks, nothing is ever removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

Kind = Literal["new", "old"]


@contextmanager
def locked_folder(path: Path, kind: Kind) -> Iterator[Path]:
    """A new folder beside `path`, locked during the block, which has to remove or rename it. OSError when it cannot be
    made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_prefix(path)}{kind}-", dir=path.parent))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
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
    """Remove the folders that killed processes left beside `path`; an "old" one only where there is a whole bundle at
    `path`, since it may hold the only one."""
    name = re.compile(re.escape(_prefix(path)) + "(new|old)-[a-z0-9_]{8}")
    with suppress(OSError):  # a folder that is not there, or that cannot be read
        for folder in [*path.parent.iterdir()]:
            match = name.fullmatch(folder.name)
            if match and (match[1] == "new" or path.exists()):
                _remove_unless_held(folder)


def _prefix(path: Path) -> str:
    return f".{path.name}.tvm-split-"


def _remove_unless_held(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # no folder, another user's, or gone by now
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its process lives, or there are no locks here
        pass
    finally:
        os.close(lock)
