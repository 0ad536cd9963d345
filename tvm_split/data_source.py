"""Whether a source of samples can be one, before anything of it is read."""

from __future__ import annotations

from pathlib import Path

from tvm_split import pictures, user_function
from tvm_split.errors import DataError

_KINDS = (
    f".npz, .npy, a picture ({', '.join(pictures.SUFFIXES)}), a folder of pictures, a .csv of lines file,label, or "
    "module:function"
)


def check_source(source: str | Path) -> None:
    """DataError when there is no such file, folder or function, or no such kind of file; nothing is read yet."""
    if user_function.is_function(str(source)):
        user_function.loaded(str(source))
        return
    path = Path(source)
    if path.is_dir():
        return
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; expected {_KINDS}")
    if path.suffix.lower() not in (".npz", ".npy", ".csv", *pictures.SUFFIXES):
        raise DataError(f"{path}: the suffix '{path.suffix}' is not known; expected {_KINDS}")
