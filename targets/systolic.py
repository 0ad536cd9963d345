"""The optional table [systolic] of a target: an array of multipliers that operands flow through, as SCALE-Sim sees one.

rows, cols                              multipliers
dataflow                                what stays in them: "ws" weights, "os" outputs, "is" inputs
ifmap_kib, filter_kib, ofmap_kib        on-chip memory of inputs, weights and results, in units of 1024 bytes
clock_hz                                cycles a second
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from tvm_split.errors import TargetError
from tvm_split.targets.fields import check_names

Dataflow = Literal["ws", "os", "is"]


@dataclass(frozen=True, slots=True)
class SystolicArray:
    """See the file's docstring."""

    rows: int
    cols: int
    dataflow: Dataflow
    ifmap_kib: int
    filter_kib: int
    ofmap_kib: int
    clock_hz: float


FIELDS = tuple(one.name for one in fields(SystolicArray))


def parse_systolic(value: Any, where: str, number: Callable[..., float]) -> SystolicArray:
    """Check the table; `number` is the check of a number (table, name, where, whole). Raises TargetError."""
    if not isinstance(value, Mapping):
        raise TargetError(f"{where}: systolic is {value!r:.40}; expected a table with the fields {', '.join(FIELDS)}")
    where = f"{where}: [systolic]"
    check_names(value, FIELDS, FIELDS, where)
    if value["dataflow"] not in get_args(Dataflow):
        raise TargetError(
            f"{where}: dataflow is {value['dataflow']!r:.40}; expected 'ws' (weights stay), 'os' (outputs) or "
            "'is' (inputs)"
        )
    counts = {name: int(number(value, name, where, True)) for name in FIELDS if name not in ("dataflow", "clock_hz")}
    return SystolicArray(**counts, dataflow=value["dataflow"], clock_hz=float(number(value, "clock_hz", where)))
