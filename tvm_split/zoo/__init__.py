"""Trained networks that Python packages ship, fetched on demand, pinned by hash and kept in a cache.

`names()` lists them, `entry(name)` describes one, `fetch(name)` gives the path of its model file, `photo()` that of a
photograph to try a classifier on. The cache is $TVM_SPLIT_CACHE, or else ~/.cache/tvm-split.
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tvm_split.errors import ModelError
from tvm_split.zoo import cache
from tvm_split.zoo.make import MAKERS, RECIPE_VERSION
from tvm_split.zoo.wheels import Source, read

__all__ = ["Entry", "entry", "fetch", "names", "photo"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the zoo. `preprocess` names a `PreprocessSpec` for it, '' if its input is no picture."""

    name: str
    description: str
    licence: str
    inputs: dict[str, tuple[int, ...]]
    preprocess: str
    source: Source
    make: str

    @property
    def package(self) -> str:
        """The package that ships the network, as pip writes it."""
        return self.source.package

    @property
    def file_name(self) -> str:
        """The model's name in the cache: it changes with the source, the recipe and the version of our recipes."""
        key = f"{self.source.sha256[:8]}-{RECIPE_VERSION}"
        return f"{self.name}-{key}{'.tflite' if self.source.member.endswith('.tflite') else '.onnx'}"


def _table(file: str) -> dict[str, Any]:
    return tomllib.loads((resources.files(__name__) / file).read_text(encoding="utf-8"))


def _source(table: dict[str, Any]) -> Source:
    return Source(table["package"], table["sha256"], table["member"], table.get("wheel", ""))


@functools.cache
def _entries() -> dict[str, Entry]:
    return {
        name: Entry(
            name=name,
            description=table["description"],
            licence=table["licence"],
            inputs={key: tuple(shape) for key, shape in table["inputs"].items()},
            preprocess=table["preprocess"],
            source=_source(table),
            make=table["make"],
        )
        for name, table in _table("zoo.toml").items()
    }


def names() -> list[str]:
    """Return the names of all networks, in the order of zoo.toml."""
    return list(_entries())


def entry(name: str) -> Entry:
    """Return the description of one network; ModelError names the closest and lists all when there is none."""
    if name not in _entries():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ModelError(f"the zoo has no network {name!r}; {hint}it has {', '.join(names())}")
    return _entries()[name]


def fetch(name: str) -> Path:
    """Return the path of the network's .onnx or .tflite file, made from its package on the first call.

    The package's file is checked against the SHA-256 in zoo.toml, the cached model against the one noted when it was
    made. Raises ModelError for an unknown name, a failed download and a file that is not what it was.
    """
    wanted = entry(name)
    return cache.kept(
        f"models/{wanted.file_name}", lambda target: MAKERS[wanted.make](read(wanted.source), wanted.inputs, target)
    )


def photo() -> Path:
    """Return the path of a JPEG photograph of ImageNet (RGB); raises ModelError as `fetch` does."""
    source = _source(_table("photo.toml"))
    return cache.kept(f"photos/{Path(source.member).name}", lambda target: target.write_bytes(read(source)))
