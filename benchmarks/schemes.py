"""A classifier at few bits, as halves compute it: one run over the float network, then each scheme from what it told.

    W4A8      every layer's weights at 4 bits, every tensor at 8, weights rounded to the nearest code
    mixed-4   weights at 2, 4 or 8 bits, 4 on average over all of them, tensors at 8: by what the outputs lose when one
              layer's weights alone have so many bits (mean Kullback-Leibler divergence of the scores)
    paper-4   the same by the mean squared error of each layer's weights, Auto-Split's D_w (KDD 2021, constraint 5b)

With a + behind it, W4A8+ or mixed-4+, each layer is rounded in order, by what its output loses
(calibration/sequential.py), and what the outputs lose is that of layers rounded so (calibration/rounding.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import tvm

from tvm_split import pipeline
from tvm_split.calibration.distortion import weight_distortions
from tvm_split.calibration.gather import gather
from tvm_split.calibration.layer_inputs import gather_inputs
from tvm_split.calibration.quantizers import held_choices
from tvm_split.calibration.rounding import rounded_weights
from tvm_split.calibration.sequential import round_in_order
from tvm_split.calibration.statistics import Statistics
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.errors import PlanError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.layer_alone import layer_alone
from tvm_split.passes.layer_readings import readings
from tvm_split.passes.layer_weights import LayerWeights, layer_weights
from tvm_split.passes.quantize_cut import Quantizer
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.plan.average_bits import bits_for_average

Batch = Mapping[str, np.ndarray]
Table = dict[str, dict[int, float]]
#: what a mixed scheme chooses from, and what it holds tensors at
MIXED, TENSORS = (2, 4, 8), 8
#: samples that say what the outputs lose when one layer has few bits
SAMPLES = 16


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
    _lost: dict[bool, Table] = field(default_factory=dict)

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        graph = self.runner.graph
        names = [t.name for t in graph.tensors if t.dtype == "float32" and graph.readers[t.name]]
        return gather(self.runner, names, self.batches)

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
            rounded = round_in_order(self.runner, self._alone, readings(mod), self.batches, bits, held)
            mod = RoundWeights(rounded)(mod)
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
        if scheme.in_order not in self._lost:
            self._lost[scheme.in_order] = self._outputs_lose(scheme.in_order)
        return self._lost[scheme.in_order]

    def _outputs_lose(self, by_output: bool) -> Table:
        """For each layer and width what the outputs lose when only its weights have it. by_output: rounded so."""
        table: Table = {name: {} for name in self.weights}
        few = self.batches[:: max(1, len(self.batches) // SAMPLES)]
        wanted = readings(self.mod) if by_output else {}
        moments = gather_inputs(self.runner, wanted, self.batches, {}) if wanted else {}
        for bits in MIXED:
            rounded = self._nearest(bits)
            if bits < TENSORS:  # as good as the nearest codes from 8 bits on
                rounded |= {name: rounded_weights(wanted[name], one, bits) for name, one in moments.items()}
            alone = {name: self._alone(name, rounded[name]) for name in self.weights}
            for name, lost in outputs_lose(self.runner, alone, few).items():
                table[name][bits] = lost
        return table

    def _nearest(self, bits: int) -> dict[str, Rounded]:
        found = {}
        for name, each in self.weights.items():
            codes, scales = quantize_weights(each.array, each.weight_axis, bits)
            found[name] = Rounded(dequantize_weights(codes, scales, each.weight_axis))
        return found

    def _alone(self, name: str, rounded: Rounded) -> LayerRunner:
        return LayerRunner(layer_alone(RoundWeights({name: rounded})(self.mod), name))


def outputs_lose(runner: LayerRunner, alone: Mapping[str, LayerRunner], batches: Sequence[Batch]) -> dict[str, float]:
    """Mean divergence of the first output's scores, in nats, when one of the layers is in its other form, for each.

    alone: layer -> a network of that layer with other weights. Layers before it run once for all.
    """
    graph = runner.graph
    (output, *_) = graph.outputs
    lost = dict.fromkeys(alone, 0.0)
    for batch in batches:
        made = dict(batch) | runner.run(batch, [name for layer in graph.layers for name in layer.outputs])
        exact, known = made[output], dict(batch)
        for layer in graph.layers:
            if layer.name in alone:
                other = alone[layer.name]
                found = other.run({name: made[name] for name in other.graph.inputs}, other.graph.outputs)
                values = dict(zip(layer.outputs, (found[name] for name in other.graph.outputs), strict=True))
                lost[layer.name] += divergence(exact, runner.run(known | values, [output])[output])
            known |= {name: made[name] for name in layer.outputs}
    return {name: total / len(batches) for name, total in lost.items()}


def divergence(exact: np.ndarray, rough: np.ndarray) -> float:
    """Kullback-Leibler divergence of two rows of scores, before softmax, in nats."""
    one, other = (_log_softmax(scores.astype(np.float64).reshape(-1)) for scores in (exact, rough))
    return float((np.exp(one) * (one - other)).sum())


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
