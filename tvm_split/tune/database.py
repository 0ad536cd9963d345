"""The folder that tuning writes and compiling reads.

    DATABASE/
      database.json                            what made it: format and TVM version
      <target>-<digest>/target.json            one folder a target
      <target>-<digest>/<kernel>/              one folder a kernel, called by the structural hash of what is scheduled
        decision.json                          what compiling reads: our schedule or the tuned one, and the figures
        <space>/database_workload.json, <space>/database_tuning_record.json
                                               MetaSchedule's trials around one schedule of ours

A kernel's name does not depend on the layer that it is of or the network, so a layer finds its schedule in a half as in
the whole network, and equal layers of other networks find it too. Files appear whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tvm_split.errors import TuneError
from tvm_split.zoo.cache import folder as cache_folder

FORMAT = 1
FACTS, TARGET, DECISION, LOCK = "database.json", "target.json", "decision.json", "lock"


@dataclass(frozen=True)
class Decision:
    """What tuning found for one kernel.

    layers: those of the network that it was tuned for. trials: how many were asked for; tried: how many there are;
    failed: of these, those that could not be built or run; unequal: those of the fastest that gave other bits.
    ours_s, tuned_s: seconds side by side in one run, tuned_s None when nothing was left to compare. trace: the tuned
    schedule where it won, else None. ours: hash of our schedule that it won against.
    """

    layers: tuple[str, ...]
    trials: int
    tried: int
    failed: int
    unequal: int
    ours_s: float | None
    tuned_s: float | None
    trace: Any
    ours: str
    reason: str

    @property
    def is_tuned(self) -> bool:
        return self.trace is not None


def default_folder() -> Path:
    """Where `tune` writes when no folder is given: `tuned` in the cache folder (see zoo/cache.py)."""
    return cache_folder() / "tuned"


@dataclass(frozen=True)
class Database:
    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Database:
        """The database in the folder, made when it is not there. TuneError as `open`, or when it cannot be written."""
        if not (folder / FACTS).is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise TuneError(f"{folder} holds other files and no database of schedules; give another --database")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / FACTS, {"version": FORMAT, "apache-tvm": version("apache-tvm")})
            except OSError as error:
                raise TuneError(f"{folder}: cannot be written ({error.strerror}); give another --database") from error
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Database:
        """The database in the folder. TuneError: there is none, it is damaged, or another TVM made it."""
        if not (folder / FACTS).is_file():
            raise TuneError(f"{folder} is no database of schedules (no {FACTS} in it): `tvm-split tune` makes one")
        facts = _read(folder / FACTS)
        if not isinstance(facts, dict) or facts.get("version") != FORMAT:
            raise TuneError(f"{folder / FACTS}: expected version {FORMAT}; tune into another folder")
        here = version("apache-tvm")
        if facts.get("apache-tvm") != here:
            raise TuneError(
                f"{folder} was made with TVM {facts.get('apache-tvm')}, but TVM {here} is installed, whose kernels and "
                "schedules are others: tune into another folder"
            )
        return cls(folder)

    def targets(self) -> list[str]:
        """Names of the targets that there are schedules for."""
        found = [_read(path) for path in sorted(self.folder.glob(f"*/{TARGET}"))]
        return [str(facts.get("name")) for facts in found if isinstance(facts, dict)]

    def digest(self) -> str:
        """SHA-256 of what compiling reads: every decision, with its place in the folder."""
        found = hashlib.sha256()
        for path in sorted(self.folder.glob(f"*/*/{DECISION}")):
            found.update(f"{path.relative_to(self.folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return found.hexdigest()

    def of(self, name: str, target: dict[str, Any]) -> TargetFolder:
        """The target's part; `target` is what TVM's target exports. Nothing is written."""
        return TargetFolder(self.folder / f"{name}-{target_key(target)}", name, target)

    def find(self, target: dict[str, Any]) -> TargetFolder | None:
        """The part of the target, whatever it was called when it was tuned; None when there is none."""
        found = sorted(self.folder.glob(f"*-{target_key(target)}"))
        return TargetFolder(found[0], found[0].name.rsplit("-", 1)[0], target) if found else None


@dataclass(frozen=True)
class TargetFolder:
    """The kernels of one target."""

    folder: Path
    name: str
    target: dict[str, Any]

    def kernel(self, key: str) -> Path:
        """The kernel's folder, made when it is not there."""
        path = self.folder / key
        path.mkdir(parents=True, exist_ok=True)
        if not (self.folder / TARGET).is_file():
            _write(self.folder / TARGET, {"name": self.name, "target": self.target})
        return path

    def trials(self, key: str, space: str) -> Path:
        """The folder of the kernel's trials in a space (lab.Cost), made when it is not there."""
        path = self.kernel(key) / space
        path.mkdir(exist_ok=True)
        return path

    def decision_file(self, key: str) -> Path:
        """Where what was decided for the kernel stands, if it was."""
        return self.folder / key / DECISION

    def decision(self, key: str) -> Decision | None:
        """What was decided for the kernel; None when nothing was. TuneError for a file that is damaged."""
        path = self.decision_file(key)
        if not path.is_file():
            return None
        return _decision(_read(path), path)

    def decide(self, key: str, decision: Decision) -> None:
        _write(self.kernel(key) / DECISION, asdict(decision))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else tunes for this target meanwhile; TuneError when somebody does. A killed process holds nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TuneError(
                    f"{self.folder} is in use by another `tvm-split tune`; wait for it, or give another --database"
                ) from None
            yield


def target_key(target: dict[str, Any]) -> str:
    """A digest of what TVM's target exports."""
    return hashlib.sha256(json.dumps(target, sort_keys=True).encode()).hexdigest()[:12]


#: field of a decision -> what its JSON is; a trace is two lists, its instructions and its decisions
SECONDS = (int, float, type(None))
KINDS: dict[str, tuple[type, ...]] = {
    "layers": (list,), "trials": (int,), "tried": (int,), "failed": (int,), "unequal": (int,), "ours_s": SECONDS,
    "tuned_s": SECONDS, "trace": (list, type(None)), "ours": (str,), "reason": (str,),
}  # fmt: skip


def _decision(found: Any, path: Path) -> Decision:
    if not isinstance(found, dict) or set(found) != set(KINDS):
        what = f"has the fields {', '.join(sorted(found))}" if isinstance(found, dict) else f"holds {found!r:.40}"
        raise damaged(path, f"it {what}; expected {', '.join(KINDS)}")
    for name, kinds in KINDS.items():
        value = found[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise damaged(path, f"{name} is {value!r:.40}")
    trace = found["trace"]
    if trace is not None and not (len(trace) == 2 and all(isinstance(part, list) for part in trace)):
        raise damaged(path, f"trace is {trace!r:.40}; expected a list of instructions and one of decisions")
    return Decision(**{**found, "layers": tuple(map(str, found["layers"]))})


def damaged(path: Path, why: str) -> TuneError:
    """The error for a file of the database that another program wrote, or a disk spoilt."""
    return TuneError(f"{path} is damaged: {why}; delete it and run `tvm-split tune` again")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuneError(f"{path} cannot be read ({error}); delete it and run `tvm-split tune` again") from error


def _write(path: Path, value: Any) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
