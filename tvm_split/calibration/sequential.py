"""Round the weights of a network layer after layer: each makes up for what the layers before it lost.

The float network and the rounded one run side by side. With x what a layer reads in the first and q in the second,

    E |W x - Wq q|^2  is least for the real weights  W E(x q^T) E(q q^T)^-1

and these are rounded by second-order error (`second_order`) over q. Where the layer has a bias, both products are taken
about the means, and the bias makes the mean of the outputs that of the float network.

The step from W to these weights is regularised (ridge) and shortened where there are few samples for each weight of an
output: what little data says of the difference of two networks is mostly noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_split.calibration.layer_inputs import Moments, as_held, centred, outer
from tvm_split.calibration.second_order import damped, second_order
from tvm_split.calibration.weights import nearest_weights
from tvm_split.data import check_batch
from tvm_split.errors import DataError
from tvm_split.graph import Layer
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

#: windows of a layer that count in one run, at random: neighbours in a large map tell little more
WINDOWS = 512
#: inputs whose products are one matrix product take no more
PRODUCT_BYTES = 1 << 25
#: what the products of a layer's inputs may take
BUDGET_BYTES = 1 << 29

#: a layer as a function: the tensors that it reads, by name -> what it makes
Changed = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
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
        with np.errstate(over="ignore", invalid="ignore"):  # `rounded_pair` looks for what is not finite
            (means, left), (held_means, held_left) = centred(columns), centred(held)
            apart, cross = (np.asarray(each.swapaxes(1, 2) @ held_left, np.float64) for each in (held_left, left))
        return cls(Moments(held.shape[1], held_means, apart), means, cross)

    def __add__(self, other: Pair) -> Pair:
        held, step = self.held + other.held, other.means - self.means
        between = outer(step, other.held.means - self.held.means) * (self.held.count * other.held.count / held.count)
        means = self.means + step * (other.held.count / held.count)
        return Pair(held, means, self.cross + other.cross + between)


def round_in_order(
    runner: LayerRunner,
    changed: Callable[[str, Rounded], Changed],
    readings: Mapping[str, Reading],
    batches: Sequence[Mapping[str, np.ndarray]],
    weight_bits: Mapping[str, int],
    held: Mapping[str, Quantizer],
    seed: int = 0,
) -> dict[str, Rounded]:
    """For `RoundWeights`: the weights of each layer in its bits, and the shift of its bias.

    runner, readings: of the float network. changed: one of its layers with other weights, as a function. held: tensor
    -> its quantiser. Not in the answer, and so at the nearest codes, are layers with so many weights an output that
    their products are beyond `BUDGET_BYTES`, and those whose products overflow. The tensors that are still to be read
    stay in memory for all batches, once for each of the networks. DataError: no batches, or one that does not fit the
    inputs.
    """
    if not batches:
        raise DataError("there are no batches to calibrate on; at least 1 is needed, and 16 or more are better")
    graph, rounded = runner.graph, dict[str, Rounded]()
    wanted = {name for name in weight_bits if name in readings}
    checked = [check_batch(batch, graph, number) for number, batch in enumerate(batches)]
    exact: _Values = {name: [batch[name] for batch in checked] for name in graph.inputs}
    rough: _Values = {name: [as_held(array, held.get(name)) for array in exact[name]] for name in graph.inputs}
    last = {name: layer.name for layer in graph.layers for name in layer.inputs}
    for layer in graph.layers:
        if not wanted:
            break
        names = tuple(dict.fromkeys(layer.inputs))
        of = _of_runner(runner, layer)
        made, run = _run(of, exact, names), of
        if layer.name in wanted:
            wanted.remove(layer.name)
            reading, bits, weights = readings[layer.name], weight_bits[layer.name], None
            if product_bytes(reading) <= BUDGET_BYTES:
                pair = _gathered(reading, exact[reading.data], rough[reading.data], np.random.default_rng(seed))
                weights = rounded_pair(reading, pair, bits)
            if weights is None:
                weights = _nearest(reading, bits)
            else:
                rounded[layer.name] = weights
            run = changed(layer.name, weights)
        found = _run(run, rough, names)
        for number, name in enumerate(layer.outputs):
            exact[name] = [one[number] for one in made]
            rough[name] = [as_held(one[number], held.get(name)) for one in found]
        for name in names:
            if last[name] == layer.name:
                del exact[name], rough[name]
    return rounded


def rounded_pair(reading: Reading, pair: Pair, bits: int) -> Rounded | None:
    """The layer's weights as codes times scales, and the shift that gives its outputs the float network's mean.

    None where the products are beyond what floats hold: nothing can be made up for then.
    """
    if not (np.isfinite(pair.cross).all() and np.isfinite(pair.held.apart).all()):
        return None
    rows, means = reading.rows(), pair.held.means
    products, cross = pair.held.covariances(), pair.cross / pair.held.count
    if not reading.biased:
        products, cross = pair.held.second(), cross + outer(pair.means, means)
    length = max(0.0, 1 - SHORTENED * reading.width / pair.held.count)
    step = np.linalg.solve(damped(products, RIDGE), (rows @ (cross - products)).swapaxes(1, 2)).swapaxes(1, 2)
    wanted = (rows + length * step).astype(np.float32)
    if not np.isfinite(wanted).all():
        return None
    codes, scales = second_order(wanted, bits, damped(products, DAMPING))
    values = codes.astype(np.float32) * scales[..., np.newaxis]
    if not reading.biased:
        return Rounded(reading.from_rows(values))
    lost = np.einsum("gok,gk->go", rows, pair.means) - np.einsum("gok,gk->go", values, means)
    return Rounded(reading.from_rows(values), lost.reshape(-1))


def _nearest(reading: Reading, bits: int) -> Rounded:
    rows = reading.rows()
    return Rounded(reading.from_rows(nearest_weights(rows.reshape(-1, rows.shape[2]), 0, bits).reshape(rows.shape)))


def _gathered(
    reading: Reading, exact: Sequence[np.ndarray], rough: Sequence[np.ndarray], random: np.random.Generator
) -> Pair:
    """Moments over all runs, some inputs at a time."""
    total: Pair | None = None
    waiting: list[tuple[np.ndarray, ...]] = []

    def join() -> None:
        nonlocal total
        if waiting:
            columns, held = (np.concatenate(each, axis=1) for each in zip(*waiting, strict=True))
            pair = Pair.of(columns, held)
            total = pair if total is None else total + pair
            waiting.clear()

    for one, other in zip(exact, rough, strict=True):
        seed = int(random.integers(2**32))  # the same places of both
        waiting.append(tuple(reading.columns(each, WINDOWS, np.random.default_rng(seed)) for each in (one, other)))
        if sum(held.nbytes for _, held in waiting) >= PRODUCT_BYTES:
            join()
    join()
    assert total is not None
    return total


def product_bytes(reading: Reading) -> int:
    """What the products of a layer's inputs take."""
    return 8 * reading.layer.groups * reading.width**2


def _of_runner(runner: LayerRunner, layer: Layer) -> Changed:
    return lambda tensors: list(runner.run(tensors, layer.outputs).values())


def _run(run: Changed, values: _Values, names: Sequence[str]) -> list[Sequence[np.ndarray]]:
    """The layer's outputs for each batch, from the tensors that it reads."""
    return [run(dict(zip(names, one, strict=True))) for one in zip(*(values[n] for n in names), strict=True)]
