"""How a candidate's numbers are held: the quantiser of each tensor and how it was found, the weights of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tvm_split.quantizer import Quantizer

if TYPE_CHECKING:
    from tvm_split.calibration.ranges import Choice
    from tvm_split.passes.round_weights import Rounded


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """Of one layer: its weights' bits, how they were rounded, and the mean squared error of what they stand for."""

    bits: int
    rounding: str
    mse: float


@dataclass(frozen=True, eq=False)
class Quantised:
    """Of one candidate.

    held, sent: tensor -> its quantiser, of those that the edge half holds as integers, and of those that cross at fewer
    bits than their own. rounded: for `RoundWeights`. weights: layer -> facts of those that are integers.
    """

    held: Mapping[str, Choice] = field(default_factory=dict)
    sent: Mapping[str, Choice] = field(default_factory=dict)
    rounded: Mapping[str, Rounded] = field(default_factory=dict)
    weights: Mapping[str, WeightFacts] = field(default_factory=dict)

    def quantizers(self) -> tuple[dict[str, Quantizer], dict[str, Quantizer]]:
        """Of `held` and of `sent`, without how they were found."""
        held, sent = ({name: each.quantizer for name, each in found.items()} for found in (self.held, self.sent))
        return held, sent

    def to_json(self) -> dict[str, Any]:
        """Plain data: ranges in the tensor's unit, errors in its square."""
        tensors = [
            {
                "tensor": name, "used": used, "bits": choice.quantizer.bits, "method": choice.method,
                "low": choice.low, "high": choice.high, "scale": choice.quantizer.scale,
                "zero_point": choice.quantizer.zero_point, "mse": choice.mse,
            }
            for used, found in (("edge", self.held), ("crossing", self.sent)) for name, choice in found.items()
        ]  # fmt: skip
        return {
            "tensors": tensors,
            "weights": [{"layer": name, **asdict(each)} for name, each in self.weights.items()],
        }

    def line(self) -> str:
        """Which methods found the ranges of how many tensors, and how weights were rounded; "" without quantisers."""
        methods = Counter(choice.method for choice in (*self.held.values(), *self.sent.values()))
        found = [f"{count} by {method}" for method, count in methods.most_common()]
        said = [f"Ranges of {methods.total()} quantised tensors: {', '.join(found)}."] if found else []
        if self.weights:
            roundings = Counter(each.rounding for each in self.weights.values()).most_common()
            said.append(f"Weights of {len(self.weights)} layers rounded {', '.join(name for name, _ in roundings)}.")
        return " ".join(said)
