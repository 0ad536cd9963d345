"""Which of a user's arrays is which input of the network. No TVM."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from tvm_split.errors import DataError


def identifier(name: str) -> str:
    """The name in letters, digits and '_', as TVMScript prints and reads it: serving_default_x_0 of ..._x:0."""
    base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "unnamed"
    return f"n{base}" if base[0].isdigit() else base


def keys_of(inputs: Iterable[str], given: Collection[str], where: object) -> dict[str, str]:
    """Input -> the given name that stands for it: its own, else the one in the model's file, whose identifier it is.

    Inputs that nothing stands for are left out. DataError, beginning with `where`, when two names of the file may be
    one input's.
    """
    found: dict[str, str] = {}
    for name in inputs:
        names = [name] if name in given else [key for key in given if identifier(str(key)) == name]
        if len(names) > 1:
            listed = ", ".join(f"'{key}'" for key in names)
            raise DataError(f"{where}: input '{name}' may be any of {listed}; leave in the one that it is")
        if names:
            found[name] = names[0]
    return found
