"""A classifier at few bits, as halves compute it: one run over the float network, then each scheme from what it told.

    W4A8      every layer's weights at 4 bits, every tensor at 8, weights rounded to the nearest code
    mixed-4   weights at 2, 4 or 8 bits, 4 on average over all of them, tensors at 8: by what the outputs lose when one
              layer's weights alone have so many bits (mean Kullback-Leibler divergence of the scores)
    paper-4   the same by the mean squared error of each layer's weights, Auto-Split's D_w (KDD 2021, constraint 5b)

With a + behind it, W4A8+ or mixed-4+, each layer is rounded in order, by what its output loses, as `compile` does
(calibration/rounded.py); and what the outputs lose is measured so, on other samples (calibration/output_network.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tvm
from average_bits import bits_for_average

from tvm_split import pipeline
from tvm_split.calibration.distortion import weight_distortions
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.calibration.output_network import output_table, records_of
from tvm_split.calibration.quantizers import held_choices
from tvm_split.calibration.rounded import IN_ORDER, NEAREST, rounded_weights
from tvm_split.calibration.statistics import Statistics
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.layer_weights import LayerWeights, channel_axes, layer_weights
from tvm_split.passes.round_weights import RoundWeights
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.quantizer import Quantizer

Batch = Mapping[str, np.ndarray]
Table = dict[str, dict[int, float]]
#: what a mixed scheme chooses from, and what it holds tensors at
MIXED, TENSORS = (2, 4, 8), 8


@dataclass(frozen=True)
class Scheme:
    """weights: bits of all; None where an average is given. paper: the bits are chosen by Auto-Split's D_w."""

    name: str
    weights: int | None
    average: float | None
    tensors: int
    paper: bool
    in_order: bool

    @classmethod
    def named(cls, name: str) -> Scheme:
        """PlanError for what is no scheme."""
        found = re.fullmatch(r"(?:W([2-8])A([2-8])|(mixed|paper)-([0-9]+(?:\.[0-9]+)?))(\+?)", name)
        if found is None:
            raise PlanError(f"there is no scheme '{name}'; give W2A2 to W8A8, mixed-4 or paper-4, each with + or not")
        weights, tensors, mixed, average, plus = found.groups()
        if mixed:
            return cls(name, None, float(average), TENSORS, mixed == "paper", bool(plus))
        return cls(name, int(weights), None, int(tensors), False, bool(plus))


@dataclass(frozen=True, eq=False)
class Quantised:
    """The whole network at few bits, and how many its weights have on average."""

    mod: tvm.IRModule
    bits: Mapping[str, int]
    average: float


@dataclass(eq=False)
class Quantiser:
    """A module of layers, and the samples that calibrate it."""

    mod: tvm.IRModule
    runner: LayerRunner
    batches: Sequence[Batch]

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        return gather(self.runner, calibratable(self.runner.graph), self.batches, channel_axes(self.weights))

    @cached_property
    def weights(self) -> dict[str, LayerWeights]:
        return layer_weights(self.mod)

    def held(self, bits: int) -> dict[str, Quantizer]:
        """Every tensor's quantiser."""
        groups = together(same_codes(self.mod).values())
        choices = held_choices(self.statistics, dict.fromkeys(self.statistics, bits), groups)
        return {name: choice.quantizer for name, choice in choices.items()}

    def quantised(self, scheme: Scheme) -> Quantised:
        held, mod = self.held(scheme.tensors), self.mod
        bits = self._bits(scheme)
        if scheme.in_order:
            mod = RoundWeights(rounded_weights(mod, self.runner, self.batches, bits, held, self.statistics))(mod)
        elements = {name: each.array.size for name, each in self.weights.items()}
        average = sum(elements[name] * bits[name] for name in bits) / sum(elements.values())
        return Quantised(pipeline.quantized()(AnnotatePrecision(bits, held)(mod)), bits, average)

    def _bits(self, scheme: Scheme) -> dict[str, int]:
        if scheme.weights is not None:
            return dict.fromkeys(self.weights, scheme.weights)
        assert scheme.average is not None
        elements = {name: each.array.size for name, each in self.weights.items()}
        return bits_for_average(elements, self._distortion(scheme), scheme.average)

    def _distortion(self, scheme: Scheme) -> Table:
        if scheme.paper:
            arrays = {name: (each.array, each.weight_axis) for name, each in self.weights.items()}
            return weight_distortions(arrays, MIXED)
        return self._outputs_lose(scheme.in_order)

    def _outputs_lose(self, in_order: bool) -> Table:
        """For each layer and width what the outputs lose when only its weights have it."""
        calibrated = Calibrated(self.runner.graph, {}, self.weights)
        records = records_of(self.mod, self.runner)
        table = output_table(
            self.mod, self.runner, calibrated, self.batches, MIXED, (), records, None, IN_ORDER if in_order else NEAREST
        )
        return table.weight_distortions(MIXED)
