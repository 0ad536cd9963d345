"""What a user asks for, checked as far as it can be without reading the model. No TVM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_split.choice import Tolerance
from tvm_split.errors import PlanError
from tvm_split.plan.problem import Side

#: widths that an edge half stores weights at, and the one that stands for floats
STORED = (8, 32)
FLOAT = (32,)
#: how weights are rounded to codes (calibration/rounded.py)
ROUNDINGS = ("in-order", "nearest")

#: options that are dicts, each with an example
DICTS: dict[str, Any] = {"shapes": {"image": (1, 3, 224, 224)}, "pins": {"stem*": "edge"}, "tensor_bits": {"b3_*": 4}}
#: options that are text, and those of them that may be None
TEXTS = ("edge", "cloud", "link", "strategy", "preprocess", "tracker", "edge_key", "cloud_key")
OPTIONAL = ("preprocess", "tracker", "edge_key", "cloud_key")


@dataclass(frozen=True)
class Request:
    """The fields are the options of `tvm-split plan`. PlanError, naming the field, for a value of the wrong kind.

    model: a path, "zoo:NAME" or an IRModule. edge, cloud, link: names of `tvm-split targets` and `links`, or TOML
    files. data: a file or folder of samples, "module:function", or arrays by input name, each with the samples along
    its first axis. shapes: input name -> shape, where the model leaves it open. memory_bytes: what the edge half may
    take; None for no limit. pins: glob of layer names -> side. tensor_bits: glob of tensor names -> bits. cut_bits:
    widths to try.
    edge_bits: widths that weights and tensors may have on the edge: 8 (integer kernels) and 32 (float, as they are).
    costs: "roofline"; "measured": on the boards `edge_key` and `cloud_key` of the RPC tracker ("HOST:PORT"), and where
    there is no key on this machine, scaled to the target by its roofline; or the costs files of edge and cloud.
    rounding: how weights become codes: "in-order", each layer making up for those before it, where any has fewer than 8
    bits; or "nearest", which takes no time.
    equalize: whether weights of neighbouring layers are balanced where that makes fewer bits lose less.
    winograd: whether convolutions that are faster so are computed by Winograd's algorithm, with 16/9 of their weights.
    database: a folder that `tvm-split tune` made, whose schedules are used where they measured faster.
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
    memory_bytes: int | None = None
    pins: Mapping[str, Side] = field(default_factory=dict)
    tensor_bits: Mapping[str, int] = field(default_factory=dict)
    strategy: str = "auto-split"
    result_at: Side = "edge"
    costs: str | tuple[Path, Path] = "roofline"
    min_agreement: float = 0.95
    max_error: float = 0.1
    samples: int = 8
    seed: int = 0
    tracker: str | None = None
    edge_key: str | None = None
    cloud_key: str | None = None
    database: Path | None = None
    winograd: bool = True
    rounding: str = "in-order"
    equalize: bool = False

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
        whole = isinstance(self.edge_bits, tuple | list) and set(self.edge_bits) <= set(STORED) and self.edge_bits
        _demand(bool(whole), "edge_bits", self, f"a tuple of some of {', '.join(map(str, STORED))}, e.g. (8, 32)")
        _demand(all(_is_whole(b, 1) for b in self.tensor_bits.values()), "tensor_bits", self, "bits, e.g. {'b3_*': 4}")
        _demand(self.memory_bytes is None or _is_whole(self.memory_bytes, 1), "memory_bytes", self, "bytes, or None")
        _demand(self.result_at in ("edge", "cloud"), "result_at", self, "'edge' or 'cloud'")
        files = isinstance(self.costs, tuple) and len(self.costs) == 2
        _demand(
            files or self.costs in ("roofline", "measured"), "costs", self, "'roofline', 'measured' or (file, file)"
        )
        share = isinstance(self.min_agreement, int | float) and 0 <= self.min_agreement <= 1
        _demand(share, "min_agreement", self, "a share from 0 to 1")
        _demand(isinstance(self.max_error, int | float) and self.max_error >= 0, "max_error", self, "0 or more")
        _demand(isinstance(self.equalize, bool), "equalize", self, "True or False")
        _demand(self.rounding in ROUNDINGS, "rounding", self, " or ".join(map(repr, ROUNDINGS)))
        _demand(_is_whole(self.samples, 1), "samples", self, "a whole number above 0")
        _demand(_is_whole(self.seed, 0), "seed", self, "a whole number from 0")

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(self.min_agreement, self.max_error)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _demand(right: bool, name: str, request: Request, expected: str) -> None:
    if not right:
        raise PlanError(f"{name} is {getattr(request, name)!r:.80}; expected {expected}")
