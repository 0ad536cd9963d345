"""Timed layers, one JSON object a line: what a cost model is fitted to, and what a profile resumes from.

A line is written whole and at once, so that a killed process loses the few layers that it was timing in turn. A last
line without its end is dropped. The first line says on which device, with which versions; records of another are
refused, not mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tvm_split.errors import CostError
from tvm_split.profile.feature_names import NAMES
from tvm_split.profile.noise import Timed

VERSION = 2
#: the network of layers that are of none (every_kind.py)
EVERY_KIND = "every kind"
#: characters of the number of a draw
LONGEST_SAMPLE = 9
#: of a count of bytes or elements; of a feature, which is nearly always log2 of a count; seconds of anything timed
LARGEST, LARGEST_FEATURE, LEAST_S, MOST_S = 3.4e38, 256.0, 1e-10, 1e3
#: the one field of a line that holds a HalfRecord
HALF = "half"


@dataclass(frozen=True, slots=True)
class Record:
    """One distinct kernel as timed. seconds, spread: `noise.Timed`'s, the spread above its limit where it was noise.

    sample: "" of the network's own layers; else which of the layers near them, or of every kind, it is of: the number
    of a draw, or "tuned". key: of `workload.key_of`. The rest is `features.Described`'s.
    """

    key: str
    network: str
    layer: str
    op: str
    rule: str
    base_s: float
    features: tuple[float, ...]
    seconds: float
    spread: float
    sample: str = ""

    @property
    def noisy(self) -> bool:
        return Timed(self.seconds, self.spread).noisy


@dataclass(frozen=True, slots=True)
class HalfRecord:
    """A half as timed whole. keys: of its layers' Records, one each; weight_bytes, moved_bytes: of the same layers.

    crossing: elements that it packs (edge) or unpacks (cloud). seconds, spread: as a Record's.
    """

    network: str
    side: str
    cut: str
    weight_bytes: float
    moved_bytes: float
    crossing: int
    seconds: float
    spread: float
    keys: tuple[str, ...]


class Records:
    """The records of one device in a file: `found` by key, in the order they were taken, and `halves`.

    `add` and `add_half` are durable.
    """

    def __init__(self, path: Path, device: Mapping[str, Any]) -> None:
        """Open or begin the file. CostError: it is no such file, or of another device (says what differs)."""
        self.path, self.device = path, dict(device)
        self.found: dict[str, Record] = {}
        self.halves: list[HalfRecord] = []
        if path.exists():
            self._read(device)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"version": VERSION, "device": dict(device)})

    def add(self, record: Record) -> None:
        self._append(asdict(record))
        self.found[record.key] = record

    def add_half(self, record: HalfRecord) -> None:
        self._append({HALF: asdict(record)})
        self.halves.append(record)

    def quiet(self) -> list[Record]:
        """The layers whose times were no noise."""
        return [record for record in self.found.values() if not record.noisy]

    def whole(self) -> list[HalfRecord]:
        """The halves of which every layer was timed."""
        return [half for half in self.halves if all(key in self.found for key in half.keys)]

    def _read(self, device: Mapping[str, Any]) -> None:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", errors="replace").split("\n")[:-1]
        try:
            head = json.loads(lines[0])
            if head["version"] != VERSION:
                raise CostError(f"{self.path} has version {head['version']!r}; this tvm-split reads version {VERSION}")
            advice = "move this file away, or give another name, and profile the device from the beginning"
            check_same(head["device"], device, f"the records in {self.path}", advice)
            for line in lines[1:]:
                found = json.loads(line)
                if HALF in found:
                    self.halves.append(_half(found[HALF]))
                else:
                    self.found[found["key"]] = _record(found)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            if isinstance(error, CostError):
                raise
            raise CostError(
                f"{self.path} holds no records of a profile ({error}); `tvm-split profile` writes them: give another "
                "name, or move this file away"
            ) from None
        if whole != data:  # cut off while it was written: go on after the last whole line
            os.truncate(self.path, len(whole))

    def _append(self, value: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())


def check_same(found: Mapping[str, Any], expected: Mapping[str, Any], what: str, advice: str) -> None:
    """CostError that names the target, where that is another, or each field in which a device's facts differ from those
    expected."""
    if "target" in expected and found.get("target") != expected["target"]:
        raise CostError(f"{what}: of target {found.get('target')!r}, expected {expected['target']!r}; {advice}")
    differ = [
        f"{name} is {found.get(name)!r}, expected {value!r}"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if differ:
        raise CostError(f"{what}: of another device, version or kernel set: {'; '.join(differ)}; {advice}")


def _record(data: dict[str, Any]) -> Record:
    """ValueError or TypeError when it is none."""
    made = Record(**{**data, "features": tuple(_real(value, "a feature") for value in data["features"])})
    _check_texts(made.key, made.network, made.layer, made.op, made.rule, made.sample)
    _check_timed(made.seconds, made.spread)
    _real(made.base_s, "base_s")
    if len(made.sample) > LONGEST_SAMPLE:
        raise ValueError(f"a sample is {made.sample!r:.40}; expected the number of a draw")
    if len(made.features) != len(NAMES):
        raise ValueError(f"layer '{made.layer:.60}' has {len(made.features)} features; expected {len(NAMES)}")
    return made


def _half(data: dict[str, Any]) -> HalfRecord:
    """ValueError or TypeError when it is none."""
    made = HalfRecord(**{**data, "keys": tuple(data["keys"])})
    _check_texts(made.network, made.side, made.cut, *made.keys)
    _check_timed(made.seconds, made.spread)
    for value in (made.weight_bytes, made.moved_bytes, made.crossing):
        if _real(value, "a number of bytes or elements") < 0:
            raise ValueError(f"a half has {value} bytes or elements; expected 0 or more")
    if not made.keys or not isinstance(data["keys"], list):
        raise ValueError(f"the keys of a half are {data['keys']!r:.60}; expected a list of one or more")
    return made


def _check_texts(*texts: Any) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!r:.60} is no text")


def _check_timed(seconds: Any, spread: Any) -> None:
    if not LEAST_S <= _real(seconds, "seconds") <= MOST_S or _real(spread, "spread") < 0:
        raise ValueError(
            f"seconds {seconds!r:.40}, their spread {spread!r:.40}; expected {LEAST_S:g} to {MOST_S:g}, and 0 or more"
        )


def _real(value: Any, what: str, most: float = LARGEST) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        raise ValueError(f"{what} is {value!r:.40}; expected a number of size {most:g} or less")
    return float(value)
