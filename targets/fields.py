"""The names of a TOML table's fields, checked: what targets, links and tables within them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm_split.errors import TargetError


def check_names(table: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...], where: str) -> None:
    """TargetError, naming `where`, for a field that is unknown or missing."""
    for name in table:
        if name not in known:
            raise TargetError(f"{where}: unknown field '{name}'; the fields are {', '.join(known)}")
    for name in required:
        if name not in table:
            raise TargetError(f"{where}: field '{name}' is missing; the fields are {', '.join(known)}")
