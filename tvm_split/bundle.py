"""The folder that `compile` writes: compiled halves, plan and manifest. No TVM: any host can check a bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvm_split.bundle_folder import canonical_json, write_json
from tvm_split.errors import BundleError
from tvm_split.manifest import FIELDS, MANIFEST, check_manifest
from tvm_split.plan.problem import Link, Timing

VERSION = 4
PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and dtype of an input or an output of the network."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class CompiledFor:
    """Architecture and LLVM's name of the processor a half is compiled for, and the features it needs, as Linux names
    them."""

    arch: str
    mcpu: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """An opened and verified bundle."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Verify and return the bundle. BundleError names the first file that is missing, foreign or changed."""
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            raise BundleError(f"{folder} is no bundle: it has no {MANIFEST}; `tvm-split compile` writes one")
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"), parse_constant=_no_constant)
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{folder / MANIFEST} cannot be read ({error}); compile the bundle again") from None
        if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
            found = manifest.get("version") if isinstance(manifest, dict) else None
            raise BundleError(f"{folder} has bundle version {found!r}; this tvm-split reads version {VERSION}")
        check_manifest(manifest, FIELDS, str(folder / MANIFEST))
        if manifest["manifest_sha256"] != _digest_of(manifest):
            raise BundleError(f"{folder / MANIFEST} was changed after it was written; compile the bundle again")
        for name, facts in manifest["files"].items():
            _verify(folder, name, facts)
        for role, name in manifest["halves"].items():
            if name not in manifest["files"] or role not in manifest["compiled_for"]:
                missing = "files" if name not in manifest["files"] else "compiled_for"
                raise BundleError(f"{folder / MANIFEST} names the half {role} = {name!r}, which is not among its "
                                  f"{missing}; compile the bundle again")  # fmt: skip
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
        return self._returned_by("edge")

    @property
    def cloud_outputs(self) -> tuple[str, ...]:
        """Outputs that the cloud half returns: wanted in the cloud, those made on the edge as well."""
        return self._returned_by("cloud")

    def _returned_by(self, side: str) -> tuple[str, ...]:
        first: dict[str, str] = {}  # a tensor that has two names is returned once
        for item in self.manifest["outputs"]:
            if item["returned_by"] == side:
                first.setdefault(item["tensor"], item["name"])
        return tuple(first.values())

    def named(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """What the halves returned, for every output: two names of one tensor get the same array."""
        tensors = {item["name"]: item["tensor"] for item in self.manifest["outputs"]}
        by_tensor = {tensors[name]: array for name, array in arrays.items()}
        return {name: by_tensor[tensor] for name, tensor in tensors.items()}

    @property
    def link(self) -> Link:
        return Link.from_json({name: value for name, value in self.manifest["link"].items() if name in FIELDS["link"]})

    @property
    def result_at(self) -> str:
        return str(self.manifest["result_at"])

    @property
    def predicted(self) -> Timing:
        """Without the waiting for other requests that a plan under load has in the cloud's time: a run has none."""
        try:
            plan = json.loads((self.path / PLAN).read_text())
            timing = Timing.from_json(plan["chosen"]["predicted"])
            return replace(timing, cloud_s=timing.cloud_s / plan.get("cloud_load", {}).get("factor", 1.0))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise BundleError(f"{self.path / PLAN} tells no predicted times ({error}); compile it again") from None

    @property
    def targets(self) -> Mapping[str, str]:
        """Target of each side, "edge" and "cloud": a name or a file, as it was given."""
        found: Mapping[str, str] = self.manifest["targets"]
        return found

    def compiled_for(self, role: str) -> CompiledFor:
        """What the half is compiled for: "edge", "cloud", or "edge_host" and "cloud_host", their twins."""
        facts = self.manifest["compiled_for"][role]
        return CompiledFor(facts["arch"], facts["mcpu"], tuple(facts["features"]))

    def half(self, role: str) -> Path | None:
        """The library of the role; None when the bundle has none. A twin that would be the half itself is not there."""
        name = self.manifest["halves"].get(role)
        return None if name is None else self.path / name

    @property
    def edge_so(self) -> Path | None:
        return self.half("edge")

    @property
    def cloud_so(self) -> Path | None:
        return self.half("cloud")


def _no_constant(text: str) -> float:
    raise ValueError(f"it holds {text}, which is no JSON")


def _spec(item: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], tuple(item["shape"]), item["dtype"])


def _verify(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    if name in ("", ".", "..") or set(name) & set("/\\\0") or not name.isprintable():
        raise BundleError(f"{folder / MANIFEST} names the file {name!r}; a bundle's files lie in its own folder")
    path = folder / name
    try:
        if path.exists() and not path.is_file():  # a pipe would be read for ever
            raise BundleError(f"bundle file {path} is no regular file; compile the bundle again")
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


def write_manifest(folder: Path, facts: Mapping[str, Any], link: Link, names: list[str]) -> dict[str, Any]:
    """Add the digest of every named file and of the manifest itself, and write it."""
    files = {name: {"sha256": file_digest(folder / name), "bytes": (folder / name).stat().st_size} for name in names}
    manifest = {"version": VERSION, **facts, "link": link.to_json(), "files": files}
    manifest["manifest_sha256"] = _digest_of(manifest)
    write_json(folder / MANIFEST, manifest)
    return manifest
