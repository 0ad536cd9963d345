"""Versions of what a compiled half depends on: part of a bundle's identity and of a timing's provenance."""

from __future__ import annotations

from importlib.metadata import version


def versions() -> dict[str, str]:
    """Package -> version."""
    return {name: version(name) for name in ("tvm-split", "apache-tvm", "apache-tvm-ffi")}
