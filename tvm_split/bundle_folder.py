"""Write a bundle's folder so that nobody ever sees half of one. No TVM."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tvm_split.errors import BundleError
from tvm_split.manifest import MANIFEST
from tvm_split.rename_new import rename_new
from tvm_split.scratch_folder import locked_folder, remove_stale


def canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def check_free(path: Path, force: bool) -> None:
    """BundleError when a bundle cannot be written at `path` because of what is there."""
    path = path.absolute()
    if path.exists() or path.is_symlink():
        if not force:
            raise BundleError(f"{path} exists already; give another -o, or --force to replace the bundle")
        if not (path / MANIFEST).is_file():
            raise BundleError(f"{path} exists and is no bundle (it has no {MANIFEST}); --force replaces only bundles")

    check_writable(path, "no bundle can be written at")


def check_writable(path: Path, what: str) -> None:
    """BundleError, beginning with `what`, when nothing can be made at `path`: of its folders, the last that is there is
    none or is read-only."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir():
        raise BundleError(f"{what} {path}: {there} is no folder; give another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BundleError(f"{what} {path}: {there} cannot be written to; give another place")


@contextmanager
def new_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """A scratch folder that becomes `path` when the block ends well, and vanishes when it does not.

    The final step is one rename, so nobody ever sees a half-written bundle under its final name. What killed processes
    left of theirs is removed first. BundleError when something is there, before the block or after it, and `force` is
    not given, when `force` would remove a folder that is no bundle, and when the folder itself cannot be made or
    renamed. With `force` and a bundle to replace there is none at `path` for a moment, between two renames. What the
    block raises keeps its own type and text.
    """
    path = path.absolute()
    check_free(path, force)
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_stale(path)
            scratch = held.enter_context(locked_folder(path, "new"))
        except OSError as error:
            raise BundleError(f"no bundle can be written at {path}: {error.strerror}") from None
        try:
            yield scratch
            _move_into_place(scratch, path, force)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _move_into_place(scratch: Path, path: Path, force: bool) -> None:
    try:
        scratch.chmod(0o755)
        if force and os.path.lexists(path):
            _replace(scratch, path)
        else:
            rename_new(scratch, path)
    except FileExistsError as error:
        raise BundleError(
            f"{path} was made by somebody else while the bundle was; nothing was changed there and the bundle was "
            "removed: give another -o, or --force to replace a bundle"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"the bundle {path} could not be written: {reason}; nothing was changed") from error


def _replace(scratch: Path, path: Path) -> None:
    """Put the bundle at `path` aside and `scratch` in its place. FileExistsError when that is no bundle by now, or when
    something else came between."""
    with locked_folder(path, "old") as old:
        aside = old / path.name
        path.rename(aside)
        try:
            if not (aside / MANIFEST).is_file():
                raise FileExistsError(errno.EEXIST, "no bundle is there any more", str(path))
            rename_new(scratch, path)
        except OSError:
            rename_new(aside, path) if aside.is_dir() else aside.rename(path)
            old.rmdir()
            raise
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write one of the bundle's own files. BundleError when the disk refuses."""
    try:
        with path.open("w") as file:
            file.write(canonical_json(value))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"the bundle's {path.name} could not be written: {reason}; nothing was changed") from error
