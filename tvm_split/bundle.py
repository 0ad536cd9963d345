"""The folder that `compile` writes: compiled halves, plan and manifest. No TVM: any host can check a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvm_split.errors import BundleError
from tvm_split.plan.problem import Link, Timing

VERSION = 2
MANIFEST, PLAN = "manifest.json", "plan.json"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of an input or an output of the network."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Bundle:
    """An opened and verified bundle."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Verify and return the bundle. BundleError names the first file that is missing, foreign or changed."""
        folder = Path(path)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
        except FileNotFoundError:
            raise BundleError(f"{folder} is no bundle: it has no {MANIFEST}; `tvm-split compile` writes one") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{folder / MANIFEST} cannot be read ({error}); compile the bundle again") from None
        if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
            found = manifest.get("version") if isinstance(manifest, dict) else None
            raise BundleError(f"{folder} has bundle version {found!r}; this tvm-split reads version {VERSION}")
        try:
            if manifest["manifest_sha256"] != _digest_of(manifest):
                raise BundleError(f"{folder / MANIFEST} was changed after it was written; compile the bundle again")
            for name, facts in manifest["files"].items():
                _verify(folder, name, facts)
            unknown = [name for name in manifest["halves"].values() if name not in manifest["files"]]
            if unknown:
                raise BundleError(f"{folder / MANIFEST} names the halves {unknown}, which are not among its files; "
                                  "compile the bundle again")  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{folder / MANIFEST} lacks {error}; compile the bundle again") from None
        return cls(folder, manifest)

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(_spec(item) for item in self.manifest["inputs"])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(_spec(item) for item in self.manifest["outputs"])

    @property
    def payload_bytes(self) -> int:
        return int(self.manifest["payload"]["bytes"])

    @property
    def codec(self) -> Mapping[str, Any] | None:
        """How the runtime codes the payload before it is sent (JPEG), with the bytes that the plan counted."""
        found: Mapping[str, Any] | None = self.manifest["payload"]["codec"]
        return found

    @property
    def planned_bytes(self) -> int:
        """Bytes of the payload on the wire, as the plan says: exact unless a codec makes them."""
        return self.payload_bytes if self.codec is None else int(self.codec["bytes"])

    @property
    def edge_outputs(self) -> tuple[str, ...]:
        """Outputs that the edge half returns."""
        return tuple(item["name"] for item in self.manifest["outputs"] if item["returned_by"] == "edge")

    @property
    def cloud_outputs(self) -> tuple[str, ...]:
        """Outputs that the cloud half returns: wanted in the cloud, those made on the edge as well."""
        return tuple(item["name"] for item in self.manifest["outputs"] if item["returned_by"] == "cloud")

    @property
    def link(self) -> Link:
        return Link(**self.manifest["link"])

    @property
    def result_at(self) -> str:
        return str(self.manifest["result_at"])

    @property
    def predicted(self) -> Timing:
        plan = json.loads((self.path / PLAN).read_text())
        return Timing.from_json(plan["chosen"]["predicted"])

    def _half(self, role: str) -> Path | None:
        name = self.manifest["halves"].get(role)
        return None if name is None else self.path / name

    @property
    def edge_so(self) -> Path | None:
        return self._half("edge")

    @property
    def edge_host_so(self) -> Path | None:
        """The edge half compiled for the machine that wrote the bundle, to check it anywhere."""
        return self._half("edge_host")

    @property
    def cloud_so(self) -> Path | None:
        return self._half("cloud")


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], tuple(item["shape"]), item["dtype"])


def _verify(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise BundleError(f"{folder / MANIFEST} names the file {name!r}; a bundle's files lie in its own folder")
    path = folder / name
    try:
        digest = file_digest(path)
    except OSError as error:
        raise BundleError(f"bundle file {path} cannot be read ({error.strerror}); compile the bundle again") from None
    if digest != facts["sha256"]:
        raise BundleError(
            f"bundle file {path} has SHA-256 {digest[:12]}..., the manifest says {facts['sha256'][:12]}...; "
            "it was changed or comes from another bundle: compile again"
        )


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without this very field."""
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


@contextmanager
def new_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """A scratch folder that becomes `path` when the block ends well, and vanishes when it does not.

    The final step is one rename, so nobody ever sees a half-written bundle under its final name. BundleError when
    something is there already and `force` is not given, or when `force` would remove a folder that is no bundle.
    """
    path = path.absolute()
    if path.exists() or path.is_symlink():
        if not force:
            raise BundleError(f"{path} exists already; give another -o, or --force to replace the bundle")
        if not (path / MANIFEST).is_file():
            raise BundleError(f"{path} exists and is no bundle (it has no {MANIFEST}); --force replaces only bundles")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BundleError(f"no bundle can be written at {path}: {error.strerror}") from None
    try:
        yield scratch
        scratch.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.rename(old / path.name)
            try:
                scratch.rename(path)
            except OSError:
                (old / path.name).rename(path)
                old.rmdir()
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            scratch.rename(path)
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"the bundle {path} could not be written: {reason}; nothing was changed") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    with path.open("w") as file:
        file.write(canonical_json(value))
        file.flush()
        os.fsync(file.fileno())


def write_manifest(folder: Path, facts: Mapping[str, Any], link: Link, names: list[str]) -> dict[str, Any]:
    """Add the digest of every named file and of the manifest itself, and write it."""
    files = {name: {"sha256": file_digest(folder / name), "bytes": (folder / name).stat().st_size} for name in names}
    manifest = {"version": VERSION, **facts, "link": asdict(link), "files": files}
    manifest["manifest_sha256"] = _digest_of(manifest)
    write_json(folder / MANIFEST, manifest)
    return manifest
