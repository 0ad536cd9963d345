"""What a user asks for, checked as far as it can be without reading the model. No TVM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tvm_split.choice import Tolerance
from tvm_split.costs import SOURCES
from tvm_split.errors import PlanError
from tvm_split.metrics import AGREEMENT, NAMES, is_metric
from tvm_split.plan.precision import EDGE_WIDTHS
from tvm_split.plan.problem import Side

#: the edge's widths when everything stays in floats
FLOAT = (32,)
#: how weights are rounded to codes (calibration/rounded.py)
ROUNDINGS = ("in-order", "nearest")

#: what may be lost of the metric's score, unless the user says so
MAX_DROP = 0.05

#: what the chosen answer has least of
Objective = Literal["latency", "energy", "payload"]
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy", "payload")

#: options that are dicts, each with an example
DICTS: dict[str, Any] = {"shapes": {"image": (1, 3, 224, 224)}, "pins": {"stem*": "edge"}, "tensor_bits": {"b3_*": 4}}
#: options that are text, and those of them that may be None
TEXTS = ("edge", "cloud", "link", "strategy", "preprocess", "tracker", "edge_key", "cloud_key")
OPTIONAL = ("preprocess", "tracker", "edge_key", "cloud_key")
#: fields whose option has another name, or whose values are written otherwise there
OPTIONS = {"memory_bytes": "--memory", "tensor_bits": "--bits", "pins": "--pin", "shapes": "--shape",
           "edge_bits": "--edge-bits", "cut_bits": "--cut-bits"}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """The fields are the options of `tvm-split plan`. PlanError, naming the field, for a value of the wrong kind.

    model: a path, "zoo:NAME" or an IRModule. edge, cloud, link: names of `tvm-split targets` and `links`, or TOML
    files. data: a file or folder of samples, "module:function", or arrays by input name, each with the samples along
    its first axis. shapes: input name -> shape, where the model leaves it open. memory_bytes: what the edge half may
    take; None for no limit. pins: glob of layer names -> side. tensor_bits: glob of names -> bits: of tensors that
    are sent, and with edge_bits other than 32 of layers' weights and of tensors that the edge holds. cut_bits: widths
    to try.
    edge_bits: widths that weights and tensors may have on the edge: 2, 3, 4, 6, 8 (integer kernels; weights are stored
    at so many bits, tensors in bytes), 16 (float16, computed with as float32) and 32 (float, as they are).
    distortion: what the error of quantising is: "mse", of the weights and tensors themselves (Auto-Split's), or
    "output", of the network's outputs when one of them is quantised alone, which takes runs over the samples.
    strategy: a planner. objective: what the chosen answer has least of; other than latency with the planner exact only,
    and energy with targets and links that state their power. pareto: ask as well for the front of latency against this.
    every_solution: keep all answers of the planner, not only those compared.
    costs: "roofline"; "mca": of the machine code that layers have there, by llvm-mca; "measured": on the boards
    `edge_key` and `cloud_key` of the RPC tracker ("HOST:PORT"), and where there is no key on this machine, scaled to
    the target by its roofline; "systolic", "scalesim", "array": of targets
    that are simulated accelerators, eyeriss and tpu; or the costs files of edge and cloud.
    cloud_load: the share of time that the cloud machine is busy with other requests, from 0 to less than 1; the mean
    waiting for it is in the cloud's times (profile/queueing.py).
    rounding: how weights become codes: "in-order", each layer making up for those before it, where any has fewer than 8
    bits; or "nearest", which takes no time.
    equalize: whether weights of neighbouring layers are balanced where that makes fewer bits lose less.
    winograd: whether convolutions that are faster so are computed by Winograd's algorithm, with 16/9 of their weights.
    database: a folder that `tvm-split tune` made, whose schedules are used where they measured faster.
    metric: what accuracy is, higher is better: "top1", "top5", "agreement" (with the float network's first class) or
    "module:function", called as function(outputs by name, label) -> score; None is top1 where the data has labels, else
    agreement. max_drop: what may be lost of it, 0.01 is one point; None is 0.05. min_agreement: another name for
    metric="agreement" with max_drop = 1 - min_agreement. max_error: the limit where there is no metric.
    baselines: whether U2 to U8, Neurosurgeon, QDMP and others are compared with, which takes compiling them.
    measure: so many finalists are compiled and timed whole by `compile`, and the clock chooses; 0 for none.
    samples: as many calibrate. check: as many others are held back, and accuracy is measured on them alone.
    """

    model: Any
    edge: str = "raspberry-pi-4"
    cloud: str = "c5.xlarge"
    link: str = "4g"
    data: Path | Mapping[str, Any] | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preprocess: str | None = None
    cut_bits: tuple[int, ...] = (2, 4, 8)
    edge_bits: tuple[int, ...] = FLOAT
    distortion: Literal["mse", "output"] = "mse"
    memory_bytes: int | None = None
    pins: Mapping[str, Side] = field(default_factory=dict)
    tensor_bits: Mapping[str, int] = field(default_factory=dict)
    strategy: str = "exact"
    objective: Objective = "latency"
    pareto: Literal["memory", "distortion"] | None = None
    every_solution: bool = False
    result_at: Side = "edge"
    costs: str | tuple[Path, Path] = "roofline"
    cloud_load: float = 0.0
    metric: str | None = None
    max_drop: float | None = None
    min_agreement: float | None = None
    max_error: float = 0.1
    baselines: bool = False
    samples: int = 16
    check: int = 32
    seed: int = 0
    tracker: str | None = None
    edge_key: str | None = None
    cloud_key: str | None = None
    database: Path | None = None
    winograd: bool = True
    rounding: str = "in-order"
    equalize: bool = False
    measure: int = 0

    def __post_init__(self) -> None:
        for name, example in DICTS.items():
            _demand(isinstance(getattr(self, name), Mapping), name, self, f"a dict, e.g. {example}")
        for name in TEXTS:
            value = getattr(self, name)
            right = (isinstance(value, str | Path) and str(value)) or (value is None and name in OPTIONAL)
            _demand(bool(right), name, self, "a text that is not empty" + (", or None" if name in OPTIONAL else ""))
        shapes = all(isinstance(s, tuple | list) and all(_is_whole(n, 1) for n in s) for s in self.shapes.values())
        _demand(shapes, "shapes", self, f"shapes of whole numbers above 0, e.g. {DICTS['shapes']}")
        widths = isinstance(self.cut_bits, tuple | list) and all(_is_whole(bits, 1) for bits in self.cut_bits)
        _demand(widths, "cut_bits", self, "a tuple of bits, e.g. (2, 4, 8)")
        whole = isinstance(self.edge_bits, tuple | list) and set(self.edge_bits) <= set(EDGE_WIDTHS) and self.edge_bits
        _demand(bool(whole), "edge_bits", self, f"a tuple of some of {', '.join(map(str, EDGE_WIDTHS))}, e.g. (4, 8)")
        _demand(all(_is_whole(b, 1) for b in self.tensor_bits.values()), "tensor_bits", self, "bits, e.g. {'b3_*': 4}")
        _demand(self.memory_bytes is None or _is_whole(self.memory_bytes, 1), "memory_bytes", self, "bytes, or None")
        _demand(self.distortion in ("mse", "output"), "distortion", self, "'mse' or 'output'")
        _demand(self.result_at in ("edge", "cloud"), "result_at", self, "'edge' or 'cloud'")
        _demand(self.objective in OBJECTIVES, "objective", self, f"one of {', '.join(OBJECTIVES)}")
        _demand(self.pareto in (None, "memory", "distortion"), "pareto", self, "'memory', 'distortion' or None")
        files = isinstance(self.costs, tuple) and len(self.costs) == 2
        named = isinstance(self.costs, str) and self.costs in SOURCES
        _demand(files or named, "costs", self, f"{', '.join(map(repr, SOURCES))} or (file, file)")
        in_range = _is_number(self.cloud_load) and self.cloud_load < 1
        _demand(in_range, "cloud_load", self, "a share of time from 0 to less than 1, at which the queue has no end")
        self._check_accuracy()
        _demand(isinstance(self.equalize, bool), "equalize", self, "True or False")
        _demand(self.rounding in ROUNDINGS, "rounding", self, " or ".join(map(repr, ROUNDINGS)))
        _demand(_is_whole(self.samples, 1), "samples", self, "a whole number above 0")
        _demand(_is_whole(self.check, 1), "check", self, "a whole number above 0")
        _demand(_is_whole(self.seed, 0), "seed", self, "a whole number from 0")
        _demand(_is_whole(self.measure, 0), "measure", self, "a whole number from 0")
        timed = self.measure and self.objective != "latency"
        _demand(not timed, "objective", self, "'latency' where finalists are measured: clocks tell no other")

    def _check_accuracy(self) -> None:
        least, drop, metric = self.min_agreement, self.max_drop, self.metric
        known = metric is None or (isinstance(metric, str) and is_metric(metric))
        _demand(known, "metric", self, f"{', '.join(NAMES)} or module:function, or None")
        _demand(least is None or _is_number(least, 1), "min_agreement", self, "a share from 0 to 1, or None")
        most = 1.0 if metric in (None, *NAMES) else math.inf
        in_range = drop is None or (_is_number(drop) and drop <= most)
        own = "0 or more and finite, in the unit of the metric, or None"
        points = "a number from 0 to 1 (0.01, or 1%, is one point), or None"
        _demand(in_range, "max_drop", self, points if most == 1 else own)
        _demand(_is_number(self.max_error), "max_error", self, "0 or more, and finite")
        if least is not None and (drop is not None or metric not in (None, AGREEMENT)):
            other = f"max_drop={drop} (--max-drop)" if drop is not None else f"metric={metric} (--metric)"
            raise PlanError(
                f"min_agreement={least} (--min-agreement) and {other} are both given; the first is another name for "
                f"--metric {AGREEMENT} --max-drop {1 - least:.4g}, so leave one of them out"
            )

    @property
    def tolerance(self) -> Tolerance:
        drop = self.max_drop if self.min_agreement is None else 1 - self.min_agreement
        return Tolerance(MAX_DROP if drop is None else drop, self.max_error)

    @property
    def wanted_metric(self) -> str | None:
        """None: what the samples allow."""
        return self.metric if self.min_agreement is None else AGREEMENT


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any, most: float = math.inf) -> bool:
    whole_or_float = isinstance(value, int | float) and not isinstance(value, bool)
    return whole_or_float and 0 <= value <= most and math.isfinite(value)


def _demand(right: bool, name: str, request: Request, expected: str) -> None:
    if not right:
        called = f"{name} ({OPTIONS[name]})" if name in OPTIONS else name
        raise PlanError(f"{called} is {getattr(request, name)!r:.80}; expected {expected}")
