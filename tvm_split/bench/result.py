"""What a bench found, in seconds, and as the JSON object of `tvm-split bench --json`. No TVM."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from tvm_split.versions import versions

VERSION = 1
OURS, DEFAULT, ONNXRUNTIME = "tvm-split", "TVM default", "onnxruntime"
#: our float32 network, beside its int8 one
OURS_FLOAT32 = "tvm-split float32"
#: engines as JSON calls them
ENGINES = {"ours": OURS, "tvm_default": DEFAULT, "onnxruntime": ONNXRUNTIME, "ours_float32": OURS_FLOAT32}


@dataclass(frozen=True, slots=True)
class Convolution:
    """Height and width of the kernel, and channels of all groups together."""

    kernel: tuple[int, int]
    channels_in: int
    channels_out: int
    groups: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kernel": list(self.kernel)}


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One kernel of the network, called alone. `limit_s` is the least that the machine's measured limits allow for
    `flops`, the operations of the layer's definition: a kernel of the rule Winograd does fewer, and may take less.

    Both times are None for a layer that is no kernel: a view, or what Relax's virtual machine does itself. int8: its
    products are of 8-bit integers, and `flops` counts operations on those.
    """

    name: str
    op: str
    seconds: float | None
    flops: int
    limit_s: float | None
    rule: str | None
    int8: bool = False
    convolution: Convolution | None = None

    @property
    def flops_per_s(self) -> float | None:
        return None if self.seconds is None else self.flops / self.seconds

    @property
    def share_of_limit(self) -> float | None:
        return None if self.seconds is None or self.limit_s is None else self.limit_s / self.seconds

    def to_json(self) -> dict[str, Any]:
        rate = self.flops_per_s
        return {
            "name": self.name, "op": self.op, "ms": milliseconds(self.seconds), "flops": self.flops,
            "gflops_per_s": None if rate is None else rate / 1e9, "limit_ms": milliseconds(self.limit_s),
            "share_of_limit": self.share_of_limit, "rule": self.rule, "int8": self.int8,
            "convolution": None if self.convolution is None else self.convolution.to_json(),
        }  # fmt: skip


@dataclass(frozen=True)
class BenchResult:
    """`calls` are the seconds of each counted call of each engine that ran: OURS always, the others if they could.

    `max_abs_difference` of our outputs from onnxruntime's: None without onnxruntime, inf when only one is finite.
    `bandwidth`: bytes that are read -> bytes a second. `busy_cores`: those that other processes kept busy; None if
    unknown.
    """

    model: str
    precision: str
    threads: int
    calls: Mapping[str, Sequence[float]]
    max_abs_difference: float | None
    layers: tuple[LayerTime, ...]
    peak_flops_per_s: float
    bandwidth: Mapping[int, float]
    peak_int8_ops_per_s: float | None = None
    warnings: tuple[str, ...] = ()
    busy_cores: float | None = None

    def median_s(self, engine: str) -> float | None:
        return statistics.median(self.calls[engine]) if engine in self.calls else None

    def fastest_s(self, engine: str) -> float | None:
        return min(self.calls[engine]) if engine in self.calls else None

    @property
    def ratio_to_onnxruntime(self) -> float | None:
        """Our median time through onnxruntime's: below 1, ours is faster."""
        return self._ratio(ONNXRUNTIME)

    @property
    def ratio_to_float32(self) -> float | None:
        """The median time of our int8 network through that of our float32 network: below 1, int8 is faster."""
        return self._ratio(OURS_FLOAT32)

    def _ratio(self, other: str) -> float | None:
        ours, theirs = self.median_s(OURS), self.median_s(other)
        return None if ours is None or theirs is None else ours / theirs

    @property
    def layers_s(self) -> float:
        """The kernels' times together; the whole network's is more by what is between them."""
        return sum(layer.seconds for layer in self.layers if layer.seconds is not None)

    def taken_by(self, rule: str | None) -> list[LayerTime]:
        """The kernels that this schedule rule took; None: those that none took."""
        return [layer for layer in self.layers if layer.seconds is not None and layer.rule == rule]

    def to_json(self) -> dict[str, Any]:
        difference = self.max_abs_difference
        return {
            "version": VERSION,
            "model": self.model,
            "precision": self.precision,
            "threads": self.threads,
            "ours_ms": milliseconds(self.median_s(OURS)),
            "tvm_default_ms": milliseconds(self.median_s(DEFAULT)),
            "onnxruntime_ms": milliseconds(self.median_s(ONNXRUNTIME)),
            "ratio_to_onnxruntime": self.ratio_to_onnxruntime,
            "max_abs_difference": None if difference is None or not math.isfinite(difference) else difference,
            "ours_float32_ms": milliseconds(self.median_s(OURS_FLOAT32)),
            "ratio_to_float32": self.ratio_to_float32,
            "fastest_ms": {name: milliseconds(self.fastest_s(engine)) for name, engine in ENGINES.items()},
            "limits": {
                "gflops_per_s": self.peak_flops_per_s / 1e9,
                "int8_gops_per_s": None if self.peak_int8_ops_per_s is None else self.peak_int8_ops_per_s / 1e9,
                "read": [{"bytes": size, "gb_per_s": speed / 1e9} for size, speed in self.bandwidth.items()],
            },
            "busy_cores": self.busy_cores,
            "versions": {**versions(), "onnxruntime": version("onnxruntime")},
            "layers": [layer.to_json() for layer in self.layers],
        }


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def max_abs_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest over all elements of all outputs; two NaN, and two equal infinities, differ by 0.

    Inf when the outputs differ in number or shape, or where only one of two elements is finite or a NaN.
    """
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        return math.inf
    largest = 0.0
    for left, right in zip(ours, theirs, strict=True):
        a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
        with np.errstate(invalid="ignore"):
            gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        largest = max(largest, float(np.where(np.isnan(gap), math.inf, gap).max(initial=0.0)))
    return largest
