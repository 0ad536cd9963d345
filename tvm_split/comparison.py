"""Predicted beside measured, stage by stage: what each number is of, and the error where both are of one thing.

A prediction for a Raspberry Pi is not wrong because this machine is faster: where the stage ran on another device than
it was predicted for, there is no error. Below a millisecond, where sockets and threads take as long, there is the
difference in seconds and no percentage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tvm_split.plan.problem import Timing

STAGES = ("edge", "uplink", "cloud", "downlink")
LEAST_S = 1e-3

#: measured: where it was predicted for.  elsewhere: on another device.  computed: from the link's rate, not measured.
Basis = Literal["measured", "elsewhere", "computed"]


@dataclass(frozen=True, slots=True)
class Place:
    """The device or link a stage was predicted for, and where its measured time comes from."""

    predicted_for: str
    measured_on: str
    basis: Basis


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, or their total, in seconds. difference_s is predicted - measured, None when they are not of one thing;
    error_percent is the difference in percent of the measured time, None as well below a millisecond predicted."""

    stage: str
    predicted_s: float
    measured_s: float
    predicted_for: str
    measured_on: str
    basis: Basis
    difference_s: float | None
    error_percent: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(predicted: Timing, measured: Timing, places: Mapping[str, Place]) -> tuple[Stage, ...]:
    """The four stages and the total, which has an error unless a stage that takes time ran elsewhere."""
    stages = [
        _stage(name, getattr(predicted, f"{name}_s"), getattr(measured, f"{name}_s"), places[name]) for name in STAGES
    ]
    elsewhere = any(s.basis == "elsewhere" and (s.predicted_s or s.measured_s) for s in stages)
    whole = Place("", "", "elsewhere" if elsewhere else "measured")
    return (*stages, _stage("total", predicted.total_s, measured.total_s, whole))


def _stage(name: str, predicted_s: float, measured_s: float, place: Place) -> Stage:
    comparable = place.basis == "measured" and (predicted_s > 0 or measured_s > 0)
    difference_s = predicted_s - measured_s if comparable else None
    error_percent = None
    if difference_s is not None and predicted_s >= LEAST_S and measured_s > 0:
        error_percent = 100 * difference_s / measured_s
    return Stage(name, predicted_s, measured_s, place.predicted_for, place.measured_on, place.basis, difference_s,
                 error_percent)  # fmt: skip
