"""What each layer costs on one target, in seconds. JSON in and out; a missing number is an error, never a zero."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tvm_split.errors import CostError

VERSION = 1
#: what computes costs on simulated accelerators, and all names that costs can be asked for by
SIMULATED = ("systolic", "scalesim", "array")
SOURCES = ("roofline", "mca", "measured", *SIMULATED)
#: more than any layer takes: thirty years
LIMIT_S = 1e9
#: where the provenance of predicted costs keeps what each layer may take: layer -> [least, most] seconds
INTERVAL = "interval_s"


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of every layer of one network on one target.

    `source` says where the numbers come from (one of SOURCES, or measured times scaled); `provenance` holds machine,
    versions, date and repeat counts as text or numbers. `per_crossing_element_s`: seconds an element of each tensor
    that is packed on the edge, or unpacked in the cloud (`plan/sending.py` counts them).
    """

    target: str
    source: str
    layer_s: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    per_crossing_element_s: float = 0.0

    def __post_init__(self) -> None:
        for name, seconds in self.layer_s.items():
            if isinstance(seconds, bool) or not (isinstance(seconds, int | float) and 0 <= seconds < LIMIT_S):
                raise CostError(
                    f"layer '{name:.60}' costs {seconds!r:.40} s on '{self.target:.60}'; a cost must be a number of "
                    f"seconds from 0 to {LIMIT_S:g}"
                )
        each = self.per_crossing_element_s
        if isinstance(each, bool) or not (isinstance(each, int | float) and 0 <= each < LIMIT_S):
            raise CostError(
                f"per_crossing_element_s on '{self.target}' is {each!r:.40}; expected a number of seconds from 0 to "
                f"{LIMIT_S:g}"
            )

    def of(self, layer: str) -> float:
        """Seconds of one layer; CostError when it has none."""
        try:
            return self.layer_s[layer]
        except KeyError:
            raise CostError(
                f"no cost of layer '{layer}' on '{self.target}' ({len(self.layer_s)} layers are known); measure it, or "
                "use --costs roofline"
            ) from None

    def crossing_s(self, elements: int) -> float:
        """Seconds that packing (edge) or unpacking (cloud) so many elements takes."""
        return elements * self.per_crossing_element_s

    def ends_of(self, layer: str) -> tuple[float, float]:
        """Least and most seconds that one layer may take, twice the same where no interval is known of it.

        So it is of a time that was edited to be outside its interval. CostError as `of`.
        """
        seconds = self.of(layer)
        low, high = self.provenance.get(INTERVAL, {}).get(layer, (seconds, seconds))
        return (low, high) if low <= seconds <= high else (seconds, seconds)

    def to_json(self) -> dict[str, Any]:
        """`per_crossing_element_s` only where it is not 0."""
        each = self.per_crossing_element_s
        return {
            "version": VERSION, "target": self.target, "source": self.source,
            "provenance": dict(self.provenance), "layer_s": dict(self.layer_s),
            **({"per_crossing_element_s": each} if each else {}),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Any) -> Costs:
        """CostError when `data` is nothing that `to_json` made."""
        parts = {"target": str, "source": str, "layer_s": dict, "provenance": dict}
        if not isinstance(data, dict):
            raise CostError(f"costs are an object with the fields version, {', '.join(parts)}; this is {data!r:.60}")
        if data.get("version") is True or data.get("version") != VERSION:
            raise CostError(f"these costs have version {data.get('version')!r}; this tvm-split reads version {VERSION}")
        check_fields(data, parts, "these costs")
        _check_interval(data["provenance"])
        each = data.get("per_crossing_element_s", 0.0)
        return cls(data["target"], data["source"], data["layer_s"], data["provenance"], each)

    @classmethod
    def load(cls, path: Path) -> Costs:
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:  # a CostError is a ValueError: it gets the path
            raise CostError(
                f"{path} is not a costs file ({error}); `tvm-split plan --save-costs` writes layer times, `tvm-split "
                "profile` a device model"
            ) from None


def check_fields(data: Mapping[str, Any], kinds: Mapping[str, type], what: str) -> None:
    """CostError, beginning with `what`, for a field of JSON that is missing or of another kind."""
    for name, kind in kinds.items():
        if not isinstance(data.get(name), kind):
            raise CostError(f"{what}: the field {name} is {data.get(name)!r:.60}; expected {kind.__name__}")


def _check_interval(provenance: Mapping[str, Any]) -> None:
    """CostError when there are intervals that are no least and most of layers."""
    found = provenance.get(INTERVAL, {})
    if not isinstance(found, dict):
        raise CostError(f"{INTERVAL} of these costs is {found!r:.60}; expected an object with [least, most] by layer")
    for name, ends in found.items():
        right = isinstance(ends, list) and len(ends) == 2 and not any(isinstance(end, bool) for end in ends)
        if not right or not all(isinstance(end, int | float) and 0 <= end < LIMIT_S for end in ends):
            raise CostError(
                f"{INTERVAL} of layer '{name}' is {ends!r:.60}; expected [least, most], seconds from 0 to {LIMIT_S:g}"
            )


def with_interval(costs: Costs, factors: tuple[float, float]) -> Costs:
    """The costs with an interval of each layer: its seconds times the first factor, and times the second."""
    low, high = factors
    ends = {name: [seconds * low, seconds * high] for name, seconds in costs.layer_s.items()}
    return replace(costs, provenance={**costs.provenance, INTERVAL: ends})


def with_seconds(costs: Costs, layer_s: Mapping[str, float]) -> Costs:
    """Other seconds of the same layers, each interval in proportion to its own."""
    made = replace(costs, layer_s=layer_s)
    if INTERVAL not in costs.provenance:
        return made
    ends = {
        name: [end * (seconds / costs.of(name)) if costs.of(name) else seconds for end in costs.ends_of(name)]
        for name, seconds in layer_s.items()
    }
    return replace(made, provenance={**costs.provenance, INTERVAL: ends})
