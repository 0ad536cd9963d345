"""What a planner is given, and what it gives back: frozen data, no TVM, no files, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.graph import DTYPE_BITS, Graph, Tensor
from tvm_split.plan.overrides import chosen_bits, close
from tvm_split.plan.precision import Precision

Side = Literal["edge", "cloud"]
Kind = Literal["edge-only", "cloud-only", "split"]

#: widths at which a crossing tensor can be packed
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)

#: the width that stands for no quantisation, whatever the dtype
AS_IT_IS = 32

#: what is above a limit by no more than this, or than this share of it, is rounding
ROUNDING = 1e-9


def check_sent(widths: Iterable[int]) -> None:
    """PlanError for a width that no crossing tensor can have."""
    for bits in widths:
        if bits not in WIDTHS:
            raise PlanError(f"a crossing tensor cannot have {bits} bits; the widths are {', '.join(map(str, WIDTHS))}")


@dataclass(frozen=True, slots=True)
class Radio:
    """Power of the edge's radio as a line in its rate: base_w + joules a byte * bytes a second (JointDNN,
    arXiv:1801.08618v1, where a Mbit/s of rate costs so many milliwatts: nanojoules a bit).

    A line through measurements at the rates of its time: far above them, its watts are no radio's.
    """

    up_j_per_byte: float
    down_j_per_byte: float
    base_w: float


@dataclass(frozen=True, slots=True)
class Link:
    """A network between edge and cloud. Rates in bytes a second, round trip in seconds, radio power in watts.

    One message costs half a round trip plus its bytes at the direction's rate. `up_w` and `down_w` are the power the
    edge's radio draws while it sends or receives; None when nobody published them. Where there is a `radio`, they
    follow from it and from the rates, also those of `dataclasses.replace`, whatever is given for them.
    """

    name: str
    up_bytes_per_s: float
    down_bytes_per_s: float
    rtt_s: float = 0.0
    up_w: float | None = None
    down_w: float | None = None
    radio: Radio | None = None

    def __post_init__(self) -> None:
        if not (self.up_bytes_per_s > 0 and self.down_bytes_per_s > 0 and self.rtt_s >= 0):
            raise PlanError(
                f"link '{self.name}' has rates {self.up_bytes_per_s} and {self.down_bytes_per_s} bytes/s and "
                f"round trip {self.rtt_s} s; rates must be positive and the round trip not negative"
            )
        if self.radio is not None:
            set_here = object.__setattr__  # the dataclass is frozen for everybody else
            set_here(self, "up_w", self.radio.base_w + self.radio.up_j_per_byte * self.up_bytes_per_s)
            set_here(self, "down_w", self.radio.base_w + self.radio.down_j_per_byte * self.down_bytes_per_s)

    def to_json(self) -> dict[str, Any]:
        """Every number; `radio` only where there is one."""
        return {name: value for name, value in asdict(self).items() if name != "radio" or value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Link:
        """TypeError for fields that are no link's."""
        radio = data.get("radio")
        return cls(**{**data, "radio": None if radio is None else Radio(**radio)})

    def up_s(self, size_bytes: int) -> float:
        return self.rtt_s / 2 + size_bytes / self.up_bytes_per_s

    def down_s(self, size_bytes: int) -> float:
        return self.rtt_s / 2 + size_bytes / self.down_bytes_per_s


@dataclass(frozen=True)
class Problem:
    """Everything a planner may know.

    cut_bits: the widths a floating-point crossing tensor may be sent at; a fixed-width planner tries each of them for
        all crossing tensors at once. 32 is no quantisation. Network inputs and integer tensors are sent as they are.
    tensor_bits: glob of a tensor's name -> its width, overriding cut_bits; no two globs disagree (PlanError).
    memory_bytes: the edge's limit for weights + live activations + payload buffer; None for no limit.
    pins: glob of a layer's name -> the side it must run on (`--pin 'stem*=edge'`). A pin that matches nothing, or pins
        that leave no legal cut, raise PlanError.
    precision: what may be quantised on the edge, and what that costs; None for float32. Planners that know no bits take
        no notice of it. `cut_bits` stay the widths of crossing tensors, chosen one by one where it is given.
    result_at: where the network's outputs are wanted. At the edge (the default), outputs made in the cloud come back
        over the downlink as they are. At the cloud, outputs made on the edge are sent up as they are.
    """

    graph: Graph
    edge: Costs
    cloud: Costs
    link: Link
    cut_bits: tuple[int, ...] = (8,)
    memory_bytes: int | None = None
    pins: Mapping[str, Side] = field(default_factory=dict)
    tensor_bits: Mapping[str, int] = field(default_factory=dict)
    result_at: Side = "edge"
    precision: Precision | None = None

    def __post_init__(self) -> None:
        if not self.cut_bits:
            raise PlanError("cut_bits is empty; give at least one width, e.g. --cut-bits 8")
        check_sent((*self.cut_bits, *self.tensor_bits.values()))
        for layer in self.graph.layers:
            self.edge.of(layer.name)
            self.cloud.of(layer.name)
        if self.precision is not None:
            self.precision.check(self.graph)
        for pattern, side in self.pins.items():
            if side not in ("edge", "cloud"):
                raise PlanError(f"pin '{pattern}={side}' names no side; write '{pattern}=edge' or '{pattern}=cloud'")
            if not any(fnmatchcase(layer.name, pattern) for layer in self.graph.layers):
                names = [layer.name for layer in self.graph.layers]
                raise PlanError(f"pin '{pattern}={side}' (--pin, pins) matches no layer; {close(pattern, names)}")
        chosen_bits(self.graph, self.tensor_bits)

    def with_link(self, link: Link) -> Problem:
        return replace(self, link=link)

    def pinned(self) -> dict[str, Side]:
        """Side of every layer that a pin names; PlanError when two pins disagree."""
        sides: dict[str, Side] = {}
        for layer in self.graph.layers:
            wanted = {side for pattern, side in self.pins.items() if fnmatchcase(layer.name, pattern)}
            if len(wanted) > 1:
                raise PlanError(f"layer '{layer.name}' is pinned to the edge and to the cloud")
            if wanted:
                sides[layer.name] = wanted.pop()
        return sides

    def width(self, tensor: Tensor, bits: int) -> int:
        """Bits an element of this tensor crosses at, when `bits` is the width chosen for floating-point tensors.

        A network input, an integer tensor and a result wanted in the cloud keep their dtype's width. So does every
        tensor at 32 bits, which mean "as it is", 64 for a float64. A width never exceeds the dtype's own.
        """
        native = DTYPE_BITS[tensor.dtype]
        is_result = self.result_at == "cloud" and tensor.name in self.graph.outputs
        if not tensor.is_float or tensor.name in self.graph.inputs or is_result:
            return native
        fixed = (width for pattern, width in self.tensor_bits.items() if fnmatchcase(tensor.name, pattern))
        wanted = next(fixed, bits)
        return native if wanted >= AS_IT_IS else min(wanted, native)


@dataclass(frozen=True, slots=True)
class Crossing:
    """One tensor of the payload. `size_bytes` is ceil(elements * bits / 8): each tensor starts on a byte.

    With `codec` "jpeg" it crosses as JPEG, and `size_bytes` is what that was on the frames given.
    """

    tensor: str
    shape: tuple[int, ...]
    bits: int
    size_bytes: int
    codec: Literal["packed", "jpeg"] = "packed"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of each stage, predicted or measured."""

    edge_s: float
    uplink_s: float
    cloud_s: float
    downlink_s: float

    @property
    def total_s(self) -> float:
        return self.edge_s + self.uplink_s + self.cloud_s + self.downlink_s

    def to_json(self) -> dict[str, float]:
        return {
            "edge_s": self.edge_s, "uplink_s": self.uplink_s, "cloud_s": self.cloud_s,
            "downlink_s": self.downlink_s, "total_s": self.total_s,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timing:
        return cls(data["edge_s"], data["uplink_s"], data["cloud_s"], data["downlink_s"])


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer: a cut, the width of each crossing tensor, what it costs. `edge_layers` in topological order.

    weight_bits, tensor_bits: bits of the edge layers' weights, and bits at which the edge holds a tensor, where these
        are less than their own. Empty for a float half.
    distortion: of the edge's weights and tensors and of the crossing tensors, as the problem's precision counts it.
    gap: at most this share of what the answer costs could be saved by any other; 0 when it is proven best, None when
        the planner does not know.
    """

    kind: Kind
    edge_layers: tuple[str, ...]
    crossing: tuple[Crossing, ...]
    edge_memory_bytes: int
    predicted: Timing
    weight_bits: Mapping[str, int] = field(default_factory=dict, hash=False)
    tensor_bits: Mapping[str, int] = field(default_factory=dict, hash=False)
    distortion: float = 0.0
    gap: float | None = None

    @property
    def payload_bytes(self) -> int:
        return sum(part.size_bytes for part in self.crossing)

    @property
    def is_coded(self) -> bool:
        """Whether a codec, not quantisation, makes the payload small."""
        return any(part.codec != "packed" for part in self.crossing)
