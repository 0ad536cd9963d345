"""What each layer costs on one target, in seconds. JSON in and out; a missing number is an error, never a zero."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_split.errors import CostError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of every layer of one network on one target.

    `source` says where the numbers come from ("roofline" or "measured"); `provenance` holds machine, versions, date
    and repeat counts as text or numbers.
    """

    target: str
    source: str
    layer_s: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, seconds in self.layer_s.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise CostError(
                    f"layer '{name}' costs {seconds} s on '{self.target}'; a cost must be finite and not negative"
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

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION, "target": self.target, "source": self.source,
            "provenance": dict(self.provenance), "layer_s": dict(self.layer_s),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Costs:
        if data.get("version") != VERSION:
            raise CostError(f"these costs have version {data.get('version')!r}; this tvm-split reads version {VERSION}")
        return cls(data["target"], data["source"], dict(data["layer_s"]), dict(data["provenance"]))

    @classmethod
    def load(cls, path: Path) -> Costs:
        try:
            return cls.from_json(json.loads(path.read_text()))
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise CostError(f"{path} is not a costs file ({error}); `tvm-split plan --save-costs` writes one") from None
