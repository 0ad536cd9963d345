"""Sizes of this machine's caches, as Linux tells them. No TVM, and cheap to import: TVM's plugin asks for them too."""

from __future__ import annotations

import re
from pathlib import Path

#: one folder a cache of the first core
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
L1, L2 = ("1", "Data"), ("2", "Unified")


def cache_bytes(level: str, kind: str) -> int | None:
    """Bytes of the first core's cache of that level and kind; None where Linux does not tell."""
    for folder in sorted(CACHES.glob("index*")):
        if _read(folder / "level") == level and _read(folder / "type") == kind:
            size = re.fullmatch(r"([0-9]+)([KM]?)", _read(folder / "size"))
            return None if size is None else int(size[1]) * {"": 1, "K": 2**10, "M": 2**20}[size[2]]
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
