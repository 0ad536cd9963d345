"""What the network's outputs lose when one layer's weights, or one tensor, is quantised alone. Frozen data, no TVM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tvm_split.calibration.distortion import Table
from tvm_split.calibration.output_error import OutputError
from tvm_split.plan.precision import HALF_BITS
from tvm_split.plan.problem import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterable

Measure = Literal["mse", "kl"]

#: stands for outputs that are not finite: worse than any that are, and sums of it are finite
UNUSABLE = 1e9

Errors = Mapping[str, Mapping[int, OutputError]]


@dataclass(frozen=True)
class OutputTable:
    """`weights`: layer -> bits -> error; `tensors`: tensor -> bits -> error, for widths below 16."""

    weights: Errors
    tensors: Errors

    @property
    def measure(self) -> Measure:
        """What distortions are in unless another is asked for: KL where there are scores, else squared error."""
        every = [
            error for table in (self.weights, self.tensors) for found in table.values() for error in found.values()
        ]
        return "kl" if every and all(error.kl is not None for error in every) else "mse"

    def weight_distortions(self, widths: Iterable[int], measure: Measure | None = None) -> Table:
        """D_w for `Precision`, 0 from 16 bits on. KeyError for a width that was not measured."""
        return _distortions(self.weights, tuple(widths), measure or self.measure)

    def tensor_distortions(self, widths: Iterable[int], measure: Measure | None = None) -> Table:
        """D_a likewise."""
        return _distortions(self.tensors, tuple(widths), measure or self.measure)


def predicted_agreement(table: OutputTable, candidate: Candidate, metric: float = 1.0) -> float | None:
    """What is left of the float network's `metric` (1: agreement with itself) when each loss of agreement adds up.

    From the weights of each edge layer, and each tensor once, at the narrowest width that a reader gets. Losses that
    hit one sample twice are counted twice, so it is mostly too low; never below 0. A network input, and what the table
    does not have, loses nothing. None where the network has no scores. KeyError for a width that was not measured.
    """
    lost = 0.0
    for error in _of_candidate(table, candidate):
        if error.agreement is None:
            return None
        lost += 1 - error.agreement
    return max(0.0, metric - lost)


def _of_candidate(table: OutputTable, candidate: Candidate) -> Iterator[OutputError]:
    narrowest = dict(candidate.tensor_bits)
    for part in candidate.crossing:
        if part.codec == "packed":
            narrowest[part.tensor] = min(part.bits, narrowest.get(part.tensor, part.bits))
    for errors, bits in ((table.weights, candidate.weight_bits), (table.tensors, narrowest)):
        yield from (errors[name][width] for name, width in bits.items() if name in errors and width < HALF_BITS)


def _distortions(errors: Errors, widths: tuple[int, ...], measure: Measure) -> Table:
    return {
        name: {bits: _value(found[bits], measure) if bits < HALF_BITS else 0.0 for bits in widths}
        for name, found in errors.items()
    }


def _value(error: OutputError, measure: Measure) -> float:
    value = error.mse if measure == "mse" else error.mean_kl
    if value is None:
        raise ValueError("there is no KL divergence of outputs that are no row of scores; take the squared error")
    return value if math.isfinite(value) else UNUSABLE
