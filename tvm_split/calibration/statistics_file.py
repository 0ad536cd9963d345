"""Statistics in one .npz file, so that a run over the samples is made once and can go on later. Nothing is pickled."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from tvm_split.calibration.statistics import Statistics
from tvm_split.errors import DataError

VERSION = 2
ARRAYS = ("counts", "channel_totals")
NUMBERS = tuple(field.name for field in fields(Statistics) if field.name not in ARRAYS)
_DAMAGED = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def save(path: Path, statistics: Mapping[str, Statistics], key: str) -> None:
    """Write the file, whole or not at all. `key` says what the statistics are of: the network and the samples."""
    arrays: dict[str, Any] = {}
    heads = []
    for number, (name, each) in enumerate(statistics.items()):
        heads.append({"name": name, **{field: getattr(each, field) for field in NUMBERS}})
        for field in ARRAYS:
            array = getattr(each, field)
            if array is not None:
                arrays[f"{field}.{number}"] = array
    head = json.dumps({"version": VERSION, "key": key, "tensors": heads})  # floats survive JSON bit for bit
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez_compressed(file, head=np.frombuffer(head.encode(), np.uint8), **arrays)
    partial.replace(path)


def load(path: Path, key: str) -> dict[str, Statistics] | None:
    """What `save` wrote; None when there is no file, or it is of another network, other samples or another version.

    DataError when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            head = json.loads(archive["head"].tobytes())
            if head["version"] != VERSION or head["key"] != key:
                return None
            return {
                numbers.pop("name"): Statistics(
                    **numbers,
                    **{field: archive[f"{field}.{i}"] for field in ARRAYS if f"{field}.{i}" in archive.files},
                )
                for i, numbers in enumerate(head["tensors"])
            }
    except _DAMAGED as error:
        raise DataError(f"{path}: cannot be read as statistics of tensors: {error}; remove the file") from error
