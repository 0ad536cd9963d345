"""Round the weights of a network layer after layer: each makes up for what the layers before it lost.

The float network and the rounded one run side by side. With x what a layer reads in the first and q in the second,

    E |W x - Wq q|^2  is least for the real weights  W E(x q^T) E(q q^T)^-1

and these are rounded by second-order error (`second_order`) over q. Where the layer has a bias, both products are taken
about the means, and the bias makes the mean of the outputs that of the float network.

The step from W to these weights is regularised (ridge) and shortened where there are few samples for each weight of an
output: what little data says of the difference of two networks is mostly noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_split.calibration.layer_inputs import WINDOWS, Moments, as_held, centred, outer
from tvm_split.calibration.second_order import damped, second_order
from tvm_split.data import check_batch
from tvm_split.errors import DataError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_readings import Reading
from tvm_split.passes.round_weights import Rounded
from tvm_split.quantizer import Quantizer

#: share of the mean diagonal of E q q^T in the ridge
RIDGE = 0.03
#: the step is shortened by so many times the weights of an output, for each sample
SHORTENED = 1.0
#: share of the mean diagonal that rounding adds
DAMPING = 0.05

_Values = dict[str, list[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Pair:
    """Over the same places of both networks: moments of q; E x, (G, K); the sum of (x - E x)(q - E q)^T, (G, K, K)."""

    held: Moments
    means: np.ndarray
    cross: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray, held: np.ndarray) -> Pair:
        """Both (G, count, K) float32."""
        (means, left), (_, held_left) = centred(columns), centred(held)
        return cls(Moments.of(held), means, (left.swapaxes(1, 2) @ held_left).astype(np.float64))

    def __add__(self, other: Pair) -> Pair:
        held, step = self.held + other.held, other.means - self.means
        between = outer(step, other.held.means - self.held.means) * (self.held.count * other.held.count / held.count)
        means = self.means + step * (other.held.count / held.count)
        return Pair(held, means, self.cross + other.cross + between)


def round_in_order(
    runner: LayerRunner,
    alone: Callable[[str, Rounded], LayerRunner],
    readings: Mapping[str, Reading],
    batches: Sequence[Mapping[str, np.ndarray]],
    weight_bits: Mapping[str, int],
    held: Mapping[str, Quantizer],
    seed: int = 0,
) -> dict[str, Rounded]:
    """For `RoundWeights`: the weights of each layer in its bits, and the shift of its bias.

    runner, readings: of the float network. alone: one of its layers with other weights (`passes.layer_alone`). held:
    tensor -> its quantiser. The tensors that are still to be read stay in memory for all batches, once for each of the
    networks. DataError: no batches, or one that does not fit the inputs.
    """
    if not batches:
        raise DataError("there are no batches to calibrate on; at least 1 is needed, and 16 or more are better")
    graph, rounded = runner.graph, {}
    checked = [check_batch(batch, graph, number) for number, batch in enumerate(batches)]
    exact: _Values = {name: [batch[name] for batch in checked] for name in graph.inputs}
    rough: _Values = {name: [as_held(array, held.get(name)) for array in exact[name]] for name in graph.inputs}
    last = {name: layer.name for layer in graph.layers for name in layer.inputs}
    for layer in graph.layers:
        run, outputs = runner, layer.outputs
        if layer.name in weight_bits and layer.name in readings:
            reading, random = readings[layer.name], np.random.default_rng(seed)
            pair = _gathered(reading, exact[reading.data], rough[reading.data], random)
            rounded[layer.name] = rounded_pair(reading, pair, weight_bits[layer.name])
            run = alone(layer.name, rounded[layer.name])
            outputs = run.graph.outputs
        made = _run(runner, exact, layer.inputs, layer.outputs)
        found = _run(run, rough, layer.inputs, outputs)
        for name, output in zip(layer.outputs, outputs, strict=True):
            exact[name] = made[name]
            rough[name] = [as_held(array, held.get(name)) for array in found[output]]
        for name in set(layer.inputs):
            if last[name] == layer.name:
                del exact[name], rough[name]
    return rounded


def rounded_pair(reading: Reading, pair: Pair, bits: int) -> Rounded:
    """The layer's weights as codes times scales, and the shift that gives its outputs the float network's mean."""
    rows, means = reading.rows(), pair.held.means
    products, cross = pair.held.covariances(), pair.cross / pair.held.count
    if not reading.biased:
        products, cross = pair.held.second(), cross + outer(pair.means, means)
    length = max(0.0, 1 - SHORTENED * reading.width / pair.held.count)
    step = np.linalg.solve(damped(products, RIDGE), (rows @ (cross - products)).swapaxes(1, 2)).swapaxes(1, 2)
    codes, scales = second_order((rows + length * step).astype(np.float32), bits, damped(products, DAMPING))
    values = codes.astype(np.float32) * scales[..., np.newaxis]
    if not reading.biased:
        return Rounded(reading.from_rows(values))
    lost = np.einsum("gok,gk->go", rows, pair.means) - np.einsum("gok,gk->go", values, means)
    return Rounded(reading.from_rows(values), lost.reshape(-1))


def _gathered(
    reading: Reading, exact: Iterable[np.ndarray], rough: Iterable[np.ndarray], random: np.random.Generator
) -> Pair:
    total: Pair | None = None
    for one, other in zip(exact, rough, strict=True):
        seed = int(random.integers(2**32))  # the same places of both
        columns = [reading.columns(array, WINDOWS, np.random.default_rng(seed)) for array in (one, other)]
        pair = Pair.of(*columns)
        total = pair if total is None else total + pair
    assert total is not None
    return total


def _run(runner: LayerRunner, values: _Values, inputs: Sequence[str], outputs: Sequence[str]) -> _Values:
    """The outputs for each batch."""
    names = tuple(dict.fromkeys(inputs))
    made = [
        runner.run(dict(zip(names, one, strict=True)), outputs) for one in zip(*(values[n] for n in names), strict=True)
    ]
    return {name: [one[name] for one in made] for name in outputs}
