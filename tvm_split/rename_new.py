"""Rename a folder to a name that is free, and never onto what somebody made there meanwhile. No TVM."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD, RENAME_NOREPLACE = -100, 1
#: the kernel or the file system knows no such rename
UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def rename_new(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`, in one step. FileExistsError when anything is there, a broken link included; OSError.

    Where Linux' renameat2 is missing, or the file system does not know RENAME_NOREPLACE (some network ones), it is a
    plain rename after a look: that refuses files and folders that hold anything, too, but replaces an empty folder that
    is made between the look and the rename.
    """
    if _without_replacing(folder, path):
        return
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise


def _without_replacing(folder: Path, path: Path) -> bool:
    """Whether it is renamed; False where that cannot be asked for."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # no such C library
        return False
    if rename(AT_FDCWD, os.fsencode(folder), AT_FDCWD, os.fsencode(path), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(path))
