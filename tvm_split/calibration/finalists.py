"""What is worked out for the few candidates whose accuracy is looked at: their ranges and their rounded weights.

A range is that of the least error on the tensor's histogram. For tensors of at most `FEW` bits that is not the best
for the network's outputs: their ranges are chosen together, by what the outputs lose on some samples (`joint`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tvm_split.calibration.joint import joint_choices
from tvm_split.calibration.layer_inputs import as_held
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.output_error import relative, squared_error
from tvm_split.calibration.ranges import METHODS, Choice
from tvm_split.calibration.rounded import IN_ORDER, NEAREST, rounded_weights
from tvm_split.calibration.weights import nearest_weights
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_weights import LayerWeights
from tvm_split.passes.round_weights import Rounded
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.plan.problem import Candidate
from tvm_split.quantised import Quantised, WeightFacts

if TYPE_CHECKING:
    import tvm

#: tensors of at most so many bits have their ranges chosen by the network's outputs
FEW = 4
#: samples on which that is looked at
SAMPLES = 4
#: crossing tensors up to which ranges are also changed one by one
ALONE = 4

Batch = Mapping[str, np.ndarray]


@dataclass
class Finalists:
    """`runner` of `mod`, the float network; `batches` that calibrate."""

    mod: tvm.IRModule
    runner: LayerRunner
    batches: Sequence[Batch]
    calibrated: Calibrated
    rounding: str = IN_ORDER
    _found: dict[tuple[object, ...], dict[str, Choice]] = field(default_factory=dict)
    _floats: list[dict[str, np.ndarray]] = field(default_factory=list)

    def of(self, candidate: Candidate) -> Quantised:
        """All that the candidate's halves need beside the network."""
        held = self.held(candidate)
        sent = self.sent(candidate, held)
        bits = {name: width for name, width in candidate.weight_bits.items() if width <= INTEGER_BITS}
        if not bits:
            return Quantised(held, sent)
        quantizers = {name: choice.quantizer for name, choice in held.items()}
        rounded = rounded_weights(
            self.mod, self.runner, self.batches, bits, quantizers, self.calibrated.statistics, self.rounding
        )
        in_order = self.rounding == IN_ORDER and min(bits.values()) < INTEGER_BITS
        facts = {
            name: _facts(self.calibrated.weights[name], width, rounded.get(name) if in_order else None)
            for name, width in bits.items()
            if name in self.calibrated.weights
        }
        return Quantised(held, sent, rounded, facts)

    def held(self, candidate: Candidate) -> dict[str, Choice]:
        """The ranges of tensors of few bits together, one method for all of them."""
        plain = self.calibrated.held(candidate)
        few = {name for name, choice in plain.items() if choice.quantizer.bits <= FEW}
        if not few:
            return plain
        ways = [plain]
        for method in METHODS:
            other = self.calibrated.held(candidate, method)
            ways.append({name: other[name] if name in few else choice for name, choice in plain.items()})
        key = ("held", tuple((name, choice.quantizer) for name, choice in plain.items()))
        outputs = self.runner.graph.outputs
        return self._joint(key, ways, outputs, lambda sample, _made: sample, 0)

    def sent(self, candidate: Candidate, held: Mapping[str, Choice]) -> dict[str, Choice]:
        """The ranges of crossing tensors of few bits, by what the cloud makes of them; the others' as they are."""
        plain = self.calibrated.sent(candidate, held)
        few = {name for name, choice in plain.items() if choice.quantizer.bits <= FEW and choice is not held.get(name)}
        graph, cut = self.runner.graph, frozenset(candidate.edge_layers)
        at_cloud = tuple(name for name in graph.outputs if graph.producer[name] not in (None, *cut))
        if not few or not at_cloud:
            return plain
        ways = [plain]
        for method in METHODS:
            other = self.calibrated.sent(candidate, held, method)
            ways.append({name: other[name] if name in few else choice for name, choice in plain.items()})
        crossing = graph.crossing(cut)
        key = ("sent", crossing, tuple((name, choice.quantizer) for name, choice in plain.items()))
        sweeps = 1 if 1 < len(few) <= ALONE else 0
        return self._joint(key, ways, at_cloud, lambda _sample, made: {name: made[name] for name in crossing}, sweeps)

    def _joint(
        self, key: tuple[object, ...], ways: Sequence[Mapping[str, Choice]], outputs: Sequence[str],
        known: Callable[[Batch, Batch], Batch], sweeps: int,
    ) -> dict[str, Choice]:  # fmt: skip
        """`known`: what a run begins with, of a sample and the float network's tensors."""

        def loss(choices: Mapping[str, Choice]) -> float:
            total = 0.0
            for sample, made in zip(self.batches, self._made(), strict=False):
                found = quantised_run(self.runner, known(sample, made), choices, outputs)
                errors = (squared_error(made[name], found[name]) for name in outputs)
                total += sum(relative(*error, of_zeros=1.0) for error in errors)
            return total

        if key not in self._found:
            self._found[key] = joint_choices(ways, loss, sweeps)
        return self._found[key]

    def _made(self) -> list[dict[str, np.ndarray]]:
        """All tensors of the float network, on the first samples."""
        if not self._floats:
            names = [tensor.name for tensor in self.runner.graph.tensors]
            self._floats = [self.runner.run(batch, names) for batch in self.batches[:SAMPLES]]
        return self._floats


def quantised_run(
    runner: LayerRunner, known: Batch, choices: Mapping[str, Choice], outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """The outputs when every reader of a tensor in `choices` sees it through its quantiser; weights as they are."""
    values = dict(known)
    for name in (tensor.name for tensor in runner.graph.tensors if tensor.name in choices):
        value = values[name] if name in values else runner.run(values, [name])[name]
        values[name] = as_held(value, choices[name].quantizer)
    return runner.run(values, outputs)


def _facts(weights: LayerWeights, bits: int, rounded: Rounded | None) -> WeightFacts:
    """What quantize-layers makes of the layer's weights, rounded in order or as they were."""
    axis = weights.weight_axis
    array = weights.array if rounded is None else rounded.weights
    off = nearest_weights(array, axis, bits) - weights.array
    return WeightFacts(bits, NEAREST if rounded is None else IN_ORDER, float(np.square(off, dtype=np.float64).mean()))
