"""The cache folder: files that are written whole or not at all, each with its SHA-256 beside it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tvm_split.errors import ModelError


def folder() -> Path:
    """Return the cache folder: $TVM_SPLIT_CACHE, or else ~/.cache/tvm-split."""
    chosen = os.environ.get("TVM_SPLIT_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "tvm-split"


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal, reading it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str) -> Path:
    """Return `path`, or raise ModelError when the file's SHA-256 is not `expected`."""
    found = sha256(path)
    if found != expected:
        raise ModelError(
            f"{path}: its SHA-256 is {found}, but {expected} was expected: the file was changed or is damaged; "
            "delete it and run again"
        )
    return path


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """Return the file `name` of the cache; when it is not there, `make(path)` writes it first.

    The file appears under its name only when it is complete, so two processes may make it at once. Its SHA-256 stands
    in NAME.sha256 and is checked on every later call: ModelError when file and note disagree.
    """
    path = folder() / name
    note = path.with_name(path.name + ".sha256")
    if path.is_file() and note.is_file():
        return verify(path, note.read_text(encoding="ascii").strip())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as making:
            made = Path(making) / path.name
            make(made)
            noted = Path(making) / note.name
            noted.write_text(sha256(made) + "\n", encoding="ascii")
            made.replace(path)
            noted.replace(note)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error}); set TVM_SPLIT_CACHE to a folder with room") from error
    return path
