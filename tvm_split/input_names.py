"""Which of a user's arrays is which input of the network. No TVM."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from tvm_split.errors import DataError


def identifier(name: str) -> str:
    """The name in letters, digits and '_', as TVMScript prints and reads it: serving_default_x_0 of ..._x:0."""
    base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "unnamed"
    return f"n{base}" if base[0].isdigit() else base


def keys_of(
    inputs: Iterable[str], given: Collection[str], where: object, file_names: Sequence[str] = ()
) -> dict[str, str]:
    """Input -> the given name that stands for it: that of the model's file, its own, or one of which it is the
    identifier.

    file_names: of the inputs, in their order; () where they are not known, or are the inputs' own. A name that the file
    gives to one input is no other's. Inputs that nothing stands for are left out. DataError, beginning with `where`,
    when two names may be one input's.
    """
    inputs = list(inputs)
    owners = dict(zip(file_names, inputs, strict=True)) if file_names else {}
    found: dict[str, str] = {name: key for key, name in owners.items() if key in given}
    for name in inputs:
        if name in found:
            continue
        free = [key for key in given if key not in owners]
        names = [name] if name in free else [key for key in free if identifier(str(key)) == name]
        if len(names) > 1:
            listed = ", ".join(f"'{key}'" for key in names)
            raise DataError(f"{where}: input '{name}' may be any of {listed}; leave in the one that it is")
        if names:
            found[name] = names[0]
    return {name: found[name] for name in inputs if name in found}
