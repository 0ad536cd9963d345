"""What a device is, as numbers: `TargetSpec`, and the check that turns a TOML table into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from tvm_split.errors import TargetError
from tvm_split.plan.precision import EDGE_WIDTHS
from tvm_split.targets.fields import check_names
from tvm_split.targets.systolic import SystolicArray, parse_systolic

KINDS = ("edge", "cloud", "both")
ARCHS = ("aarch64", "x86_64", "simulated")


@dataclass(frozen=True)
class TargetSpec:
    """One device. Bytes, seconds, watts, operations a second; a multiply-add is two operations.

    kind: the side it can stand on.  arch: "simulated" has no TVM target and runs nothing.
    cores: the threads a compiled half uses; physical cores in the packaged files.
    peak_flops_per_s: float32, all cores.  peak_int8_ops_per_s: 8-bit integers, all cores; None when it is not known.
    efficiency: the share of the peak that compiled kernels reach, above 0 and at most 1. The packaged files state it
        for TVM's *untuned* kernels, which run one multiply-add chain on one core: about 0.5 float32 operations a cycle
        (measured on x86, assumed elsewhere; tvm_split/profile/roofline.py has the numbers), so
        0.5 / (peak operations a core's cycle * cores). For scheduled kernels use `dataclasses.replace`.
    clock_hz: cycles a second of a core with all cores busy, for `--costs mca`; None: derived from the peak.
    layer_overhead_s: what a layer costs beyond its arithmetic and its bytes.
    memory_bytes: what the board has, None only for a simulated device whose memory nobody published.
    vector_bits: width of a SIMD register.  l1_bytes: L1 data cache of a core.  l2_bytes: L2 that one core reaches.
    active_w: what the board draws *beyond* idle_w while all cores compute, so full load less idle; None when nobody
        measured it. Energy (`--objective energy`) counts this and the radio, not what the board draws whatever it does.
    idle_w: what the board draws while nothing runs; nothing is computed from it.
    tvm_target: a TVM tag, or a table with `kind`; `mcpu = "native"` means the machine that compiles.
    bits: widths that layers may have on it, of EDGE_WIDTHS; None for all: kernels exist for every processor.
    systolic: the array of a simulated accelerator, for the costs "systolic" and "scalesim"; None for all else.
    sources: field name -> where its number comes from.
    """

    name: str
    description: str
    kind: Literal["edge", "cloud", "both"]
    arch: Literal["aarch64", "x86_64", "simulated"]
    cores: int
    peak_flops_per_s: float
    memory_bandwidth_bytes_per_s: float
    layer_overhead_s: float
    efficiency: float
    memory_bytes: int | None = None
    tvm_target: str | Mapping[str, Any] | None = None
    vector_bits: int | None = None
    peak_int8_ops_per_s: float | None = None
    clock_hz: float | None = None
    l1_bytes: int | None = None
    l2_bytes: int | None = None
    active_w: float | None = None
    idle_w: float | None = None
    bits: tuple[int, ...] | None = None
    systolic: SystolicArray | None = None
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def simulated(self) -> bool:
        return self.arch == "simulated"

    @property
    def tvm_target_config(self) -> str | dict[str, Any]:
        """The tag or a fresh dict for `tvm.target.Target`; TargetError for a simulated device. No TVM needed."""
        if self.tvm_target is None:
            raise TargetError(
                f"target '{self.name}' is simulated: costs can be computed for it, but nothing compiles for it; "
                "choose a target with a tvm_target to build"
            )
        return self.tvm_target if isinstance(self.tvm_target, str) else dict(self.tvm_target)


#: more than any rate, size or time of a device
LARGEST = 1e18
FIELDS = tuple(one.name for one in fields(TargetSpec))
REQUIRED = tuple(one.name for one in fields(TargetSpec) if one.default is MISSING and one.default_factory is MISSING)
REQUIRED_OF_CPUS = ("memory_bytes", "tvm_target", "vector_bits")
COUNTS = ("cores", "memory_bytes", "vector_bits", "l1_bytes", "l2_bytes")
AMOUNTS = ("peak_flops_per_s", "peak_int8_ops_per_s", "clock_hz", "memory_bandwidth_bytes_per_s", "active_w", "idle_w")
NUMBERS = (*COUNTS, *AMOUNTS, "layer_overhead_s", "efficiency")


def check_fields(table: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...], where: str) -> None:
    """TargetError, naming `where`, for a field that is unknown or missing, and for sources of unknown fields."""
    check_names(table, known, required, where)
    sources = table.get("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(text, str) for text in sources.values()):
        raise TargetError(f"{where}: sources is {sources!r}; expected a table of field name -> text")
    for name in sources:
        if name not in known:
            raise TargetError(f"{where}: [sources] names the unknown field '{name}'; the fields are {', '.join(known)}")


def text(table: Mapping[str, Any], name: str, where: str) -> str:
    """The field as text that is not empty; TargetError otherwise."""
    value = table[name]
    if not isinstance(value, str) or not value.strip():
        raise TargetError(f"{where}: {name} is {value!r}; expected a text in quotes")
    return value


def number(table: Mapping[str, Any], name: str, where: str, whole: bool = False, zero: bool = False) -> float:
    """The field as a finite number above 0 (`zero`: or 0), an integer if `whole`; TargetError otherwise."""
    value: float = table[name]
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_type or not 0 <= value <= LARGEST or (value == 0 and not zero):  # NaN is not between either
        kind = "a whole number" if whole else "a number"
        bounds = f"{'from' if zero else 'above'} 0 to {LARGEST:g}"
        raise TargetError(f"{where}: {name} is {value!r:.40}; expected {kind} {bounds}")
    return value


def parse_target(table: Mapping[str, Any], where: str) -> TargetSpec:
    """Check a target's table; `where` is the file's name in every message. Raises TargetError."""
    check_fields(table, FIELDS, REQUIRED, where)
    values: dict[str, Any] = {name: text(table, name, where) for name in ("name", "description", "kind", "arch")}
    for name, choices in (("kind", KINDS), ("arch", ARCHS)):
        if values[name] not in choices:
            raise TargetError(f"{where}: {name} is '{values[name]}'; expected one of {', '.join(choices)}")
    if values["arch"] == "simulated":
        if "tvm_target" in table:
            raise TargetError(f"{where}: a simulated target has no tvm_target; remove it, or state the real arch")
    else:
        for name in REQUIRED_OF_CPUS:
            if name not in table:
                raise TargetError(f"{where}: field '{name}' is missing; only a simulated target may leave it out")
        values["tvm_target"] = _tvm_target(table["tvm_target"], where)
    for name in NUMBERS:
        if name in table:
            whole, zero = name in COUNTS, name in ("layer_overhead_s", "idle_w")
            value = number(table, name, where, whole, zero)
            values[name] = value if whole else float(value)
    if values["efficiency"] > 1:
        raise TargetError(f"{where}: efficiency is {values['efficiency']}; expected a share above 0 and at most 1")
    if "bits" in table:
        values["bits"] = _bits(table["bits"], where)
    if "systolic" in table:
        values["systolic"] = parse_systolic(table["systolic"], where, number)
    values["sources"] = MappingProxyType(dict(table.get("sources", {})))
    return TargetSpec(**values)


def _bits(value: Any, where: str) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(isinstance(bits, int) and not isinstance(bits, bool) for bits in value)
    if not whole or not value or not set(value) <= set(EDGE_WIDTHS):
        known = ", ".join(map(str, EDGE_WIDTHS))
        raise TargetError(f"{where}: bits is {value!r:.40}; expected a list of some of {known}")
    return tuple(sorted(set(value)))


def _tvm_target(value: Any, where: str) -> str | Mapping[str, Any]:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        return MappingProxyType(dict(value))
    raise TargetError(f"{where}: tvm_target is {value!r}; expected a TVM tag in quotes or a table with a kind")
