"""What tells one set of kernels from another: a digest of the passes that make and schedule them. No TVM.

A cost model knows kernels as they were when it was fitted. Any change to a pass may make others.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources


@functools.cache
def kernel_set() -> str:
    """Sixteen hex digits, of the source of every module of `tvm_split.passes` and of how passes are put in order."""
    digest = hashlib.sha256()
    root = resources.files("tvm_split")
    modules = sorted(_modules(resources.files("tvm_split.passes"), ""))
    for name, text in [*modules, *((name, (root / name).read_bytes()) for name in ("lower.py", "pipeline.py"))]:
        digest.update(name.encode() + b"\0" + text + b"\0")
    return digest.hexdigest()[:16]


def _modules(folder: resources.abc.Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for item in folder.iterdir():
        if item.is_dir():
            found += _modules(item, f"{prefix}{item.name}/")
        elif item.name.endswith(".py"):
            found.append((prefix + item.name, item.read_bytes()))
    return found
