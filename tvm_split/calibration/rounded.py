"""The weights of integer layers as a user wants them rounded: one table for the accuracy check, the half and its twin.

    in-order   where any layer has fewer than 8 bits: layer after layer, each making up for those before it
               (`sequential`)
    nearest    the nearest codes; the bias takes up the mean of what they lose (`bias`)

At 8 bits nothing is left to make up for, and the nearest codes take no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import tvm

from tvm_split.calibration.bias import bias_correction
from tvm_split.calibration.sequential import Changed, round_in_order
from tvm_split.calibration.statistics import Statistics
from tvm_split.calibration.weights import nearest_weights
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_alone import layer_alone
from tvm_split.passes.layer_in_numpy import in_numpy
from tvm_split.passes.layer_readings import Reading, readings
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.quantizer import Quantizer
from tvm_split.request import ROUNDINGS

IN_ORDER, NEAREST = ROUNDINGS


def rounded_weights(
    mod: tvm.IRModule,
    runner: LayerRunner,
    batches: Sequence[Mapping[str, np.ndarray]],
    weight_bits: Mapping[str, int],
    held: Mapping[str, Quantizer],
    statistics: Mapping[str, Statistics],
    rounding: str = IN_ORDER,
) -> dict[str, Rounded]:
    """For `RoundWeights`: the new weights of the layers of `mod` that are computed on integers, and their biases.

    runner: of `mod`. weight_bits: layer -> bits; those above 8 stay as they are. held: tensor -> its quantiser.
    statistics: of tensors that layers read, with the means of their channels. DataError: no batches, or one that does
    not fit the inputs.
    """
    bits = {name: width for name, width in weight_bits.items() if width <= INTEGER_BITS}
    known = readings(mod)
    if rounding == IN_ORDER and min(bits.values(), default=INTEGER_BITS) < INTEGER_BITS:
        return round_in_order(runner, partial(changed_layer, mod), known, batches, bits, held)
    return {
        name: Rounded(known[name].layer.weight, _lost_mean(known[name], width, statistics[known[name].data]))
        for name, width in bits.items()
        if name in known and known[name].biased and _has_means(known[name], statistics)
    }


def changed_layer(mod: tvm.IRModule, name: str, rounded: Rounded) -> Changed:
    """The layer with other weights, in NumPy where it is known there; else compiled alone."""
    changed = tvm.transform.Sequential([RoundWeights({name: rounded})])(mod)
    (callee,) = (callee for _, callee in layer_calls(changed) if str(callee.attrs[LAYER]) == name)
    run = in_numpy(callee)
    alone = layer_alone(changed, name)
    if run is not None:
        inputs = [str(param.name) for param in alone["main"].params]
        return lambda tensors: [run(*(tensors[tensor] for tensor in inputs))]
    runner = LayerRunner(alone)
    return lambda tensors: list(runner.run(tensors, runner.graph.outputs).values())


def _has_means(reading: Reading, statistics: Mapping[str, Statistics]) -> bool:
    """Whether the means of its input channels are known: of a tensor read along two axes there is one of both only."""
    found = statistics.get(reading.data)
    inputs = reading.layer.weight.shape[reading.layer.kernel_layout.index("I")] * reading.layer.groups
    return found is not None and found.channel_totals is not None and len(found.channel_totals) == inputs


def _lost_mean(reading: Reading, bits: int, statistics: Statistics) -> np.ndarray:
    layer = reading.layer
    nearest = nearest_weights(layer.weight, layer.kernel_layout.index("O"), bits)
    return bias_correction(layer.weight, nearest, statistics.channel_means, layer.kernel_layout, layer.groups)
