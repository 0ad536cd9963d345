"""Files of Python's library as the network `magika` reads them: real samples that are on every machine."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np

#: bytes that it reads of a file's beginning and of its end, and what stands for no byte
HALF, PADDING = 1024, 256


def library_files(count: int) -> list[dict[str, np.ndarray]]:
    """At most `count` inputs of magika, of as many kinds of files as there are: the first of each, the second, ..."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.*")):
        if path.is_file() and path.stat().st_size > HALF:
            kinds.setdefault(path.suffix, []).append(path)
    longest = max(map(len, kinds.values()), default=0)
    turns = [paths[i] for i in range(min(count, longest)) for paths in kinds.values() if i < len(paths)]
    return [{"bytes": magika_input(path.read_bytes())} for path in turns[:count]]


def magika_input(content: bytes) -> np.ndarray:
    """(1, 2048) int32: the beginning, without white space before it, and the end, without white space behind it."""
    begin, end = content.lstrip()[:HALF], content.rstrip()[-HALF:]
    row = [*begin, *[PADDING] * (HALF - len(begin)), *[PADDING] * (HALF - len(end)), *end]
    return np.array([row], np.int32)
