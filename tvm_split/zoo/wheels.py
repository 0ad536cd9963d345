"""Read one file out of a pinned package, without installing the package or its dependencies."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tvm_split.errors import ModelError
from tvm_split.zoo import cache


@dataclass(frozen=True, slots=True)
class Source:
    """A file inside a package: `member` of the wheel file `wheel`, whose SHA-256 is `sha256`.

    With `wheel` == '' it is a file that the installed `package` holds, and `sha256` is that file's own.
    """

    package: str
    sha256: str
    member: str
    wheel: str = ""


def read(source: Source) -> bytes:
    """Return the bytes of `source`, downloading its wheel into the cache on the first call; ModelError on failure."""
    if not source.wheel:
        return _installed(source)
    path = cache.folder() / "wheels" / source.wheel
    if not path.is_file():
        _download(source, path)
    with zipfile.ZipFile(cache.verify(path, source.sha256)) as wheel:
        return wheel.read(source.member)


def _installed(source: Source) -> bytes:
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        raise ModelError(f"the package {source.package} is not installed; run `pip install {source.package}`")
    path = Path(spec.origin).parent / source.member
    if not path.is_file():
        raise ModelError(f"{path}: this version of {source.package} does not ship the file; install another version")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise ModelError(
            f"{path}: its SHA-256 is {found}, but {source.sha256} was expected; reinstall {source.package}"
        )
    return data


def _download(source: Source, path: Path) -> None:
    """Let pip put the wheel at `path`, checked, from whatever index pip is configured to use."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", *_platform(source.wheel), source.package]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".loading-") as loading:
            done = subprocess.run([*command, "--dest", loading], capture_output=True, text=True, check=False)
            loaded = Path(loading) / source.wheel
            if done.returncode or not loaded.is_file():
                raise ModelError(
                    f"{source.package}: pip could not download {source.wheel}; `{' '.join(command)}` said:\n"
                    f"{done.stderr.strip() or 'nothing'}"
                )
            cache.verify(loaded, source.sha256)
            loaded.replace(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error}); set TVM_SPLIT_CACHE to a folder with room") from error


def _platform(wheel: str) -> list[str]:
    """Return pip's options that make it take this very wheel on any machine: only its data is read, never its code."""
    tag = re.fullmatch(r".*-(?P<platform>[^-]+)\.whl", wheel)
    assert tag is not None, wheel
    return [] if tag["platform"] == "any" else ["--platform", tag["platform"], "--python-version", "3.11"]
