"""What is known of a device's speed, as one JSON file: a cost model of layers, how layers make a half, the errors.

    {"kind": "tvm-split device model", "version": 1, "date": ..., "device": {target, machine, threads, versions, ...},
     "layers": {the cost model}, "composition": {...}, "fitted_to": {"layers": n, "halves": n},
     "errors": {"layers": {"median": 0.06, "p90": 0.2}, "halves": {...} or null}}

Errors are those of networks held back. No pickle: XGBoost's own JSON is inside. No TVM.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_split.bundle_folder import canonical_json
from tvm_split.costs import check_fields
from tvm_split.errors import CostError
from tvm_split.plot import Pair
from tvm_split.profile import composition, cost_model
from tvm_split.profile.composition import Composition
from tvm_split.profile.cost_model import CostModel
from tvm_split.profile.file_kinds import DEVICE_MODEL, is_device_model
from tvm_split.profile.records import Records, check_same

VERSION = 1
#: relative errors beyond it are no errors of a model
MOST_OFF = 1e9
LONGEST_DATE = 40
FIELDS = {"device": dict, "date": str, "layers": dict, "composition": dict, "fitted_to": dict, "errors": dict}


@dataclass(frozen=True)
class DeviceModel:
    """device: `collect.device_facts`. errors, fitted_to: as in the file."""

    device: Mapping[str, Any]
    date: str
    layers: CostModel
    composition: Composition
    fitted_to: Mapping[str, int]
    errors: Mapping[str, Mapping[str, float] | None]

    def check(self, expected: Mapping[str, Any], what: str) -> None:
        """CostError that names what differs between the device that was profiled and the one that is asked for."""
        check_same(self.device, expected, what, "give the model of that one, or profile it (`tvm-split profile`)")

    def save(self, path: Path) -> None:
        data = {
            "kind": DEVICE_MODEL, "version": VERSION, "date": self.date, "device": dict(self.device),
            "fitted_to": dict(self.fitted_to), "errors": dict(self.errors), "composition": self.composition.to_json(),
            "layers": self.layers.to_json(),
        }  # fmt: skip
        scratch = path.with_name(path.name + ".part")
        scratch.write_text(canonical_json(data), encoding="utf-8")
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> DeviceModel:
        """CostError when the file is no device model, or of another version."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CostError(f"{path} is no device model ({error}); `tvm-split profile` writes one") from None
        return cls.from_json(data, path)

    @classmethod
    def from_json(cls, data: Any, path: Path) -> DeviceModel:
        """The model of a file's JSON. CostError, naming the file, as `load`."""
        if not is_device_model(data):
            raise CostError(f"{path} is no device model; `tvm-split profile` writes one")
        if data.get("version") is True or data.get("version") != VERSION:
            raise CostError(f"{path} has version {data.get('version')!r}; this tvm-split reads version {VERSION}")
        check_fields(data, FIELDS, str(path))
        try:
            _check_facts(data["device"], data["date"])
            _check_numbers(data["fitted_to"], data["errors"])
            layers, parts = CostModel.from_json(data["layers"]), Composition.from_json(data["composition"])
        except (KeyError, TypeError, ValueError) as error:
            raise CostError(f"{path}: {error}; profile the device anew") from None
        return cls(data["device"], data["date"], layers, parts, data["fitted_to"], data["errors"])


def _check_facts(device: Mapping[str, Any], date: str) -> None:
    """CostError: threads is no whole number, or the date no text to show."""
    threads = device.get("threads", 0)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise CostError(f"the device's threads are {threads!r:.40}; expected a whole number")
    if not date.isprintable() or len(date) > LONGEST_DATE:
        raise CostError(f"its date is {date!r:.40}; expected one such as 2026-01-31T12:00:00Z")


def _check_numbers(fitted_to: Mapping[str, Any], errors: Mapping[str, Any]) -> None:
    """CostError: counts are no whole numbers from 0; errors lack, or are no finite numbers from 0."""
    for name in ("layers", "halves"):
        count, found = fitted_to.get(name), errors.get(name)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise CostError(f"fitted_to has {name} {count!r:.40}; expected a whole number from 0")
        if found is None and name == "halves" and name in errors:
            continue
        for what in ("median", "p90"):
            value = found.get(what) if isinstance(found, dict) else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_OFF:
                raise CostError(
                    f"the {what} of the errors of {name} is {value!r:.40}; expected a number from 0 to {MOST_OFF:g}"
                )


def fit(records: Records, device: Mapping[str, Any], date: str | None = None) -> DeviceModel:
    """The model of a device's records. CostError when there are too few.

    Errors of layers are of networks' own ones, those of halves of what was predicted of their layers. Layers whose
    times were noise are not fitted to and are no errors, but a half is composed of these times as well. Halves of
    layers that could not be timed are left out. Without halves enough, a half is the sum of its layers, and its error
    is not known.
    """
    return fit_with_pairs(records, device, date)[0]


def fit_with_pairs(
    records: Records, device: Mapping[str, Any], date: str | None = None
) -> tuple[DeviceModel, dict[str, list[Pair]]]:
    """`fit`, and what its errors are of: each layer and half as predicted when its network was held back."""
    timed = list(records.found.values())
    layers, held = cost_model.fit(timed)
    quiet = [i for i, record in enumerate(timed) if not record.noisy]
    own = [i for i in quiet if not timed[i].sample] or quiet
    errors = [held[i] for i in own]
    halves = records.whole()
    parts, half_errors = Composition(), None
    pairs = {"layers": [_pair(timed[i].network, timed[i].seconds, held[i]) for i in own]}
    if len(halves) >= composition.FEWEST and len({half.network for half in halves}) > 1:
        alone_s = {record.key: record.seconds for record in timed}
        predicted = {record.key: record.seconds * (1 + error) for record, error in zip(timed, held, strict=True)}
        parts, found = composition.fit(halves, alone_s, predicted)
        half_errors = summary(found)
        pairs["halves"] = [_pair(each.network, each.seconds, e) for each, e in zip(halves, found, strict=True)]
    model = DeviceModel(
        device, date if date is not None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), layers, parts,
        {"layers": len(quiet), "halves": len(halves)}, {"layers": summary(errors), "halves": half_errors},
    )  # fmt: skip
    return model, pairs


def _pair(network: str, measured_s: float, error: float) -> Pair:
    return Pair(network, measured_s * (1 + error), measured_s)


def summary(errors: Sequence[float]) -> dict[str, float]:
    """The median and the 90th percentile of relative errors' sizes."""
    sizes = sorted(abs(error) for error in errors)
    return {"median": statistics.median(sizes), "p90": sizes[min(int(0.9 * len(sizes)), len(sizes) - 1)]}
