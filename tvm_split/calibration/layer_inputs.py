"""Mean and products of what each weight of a layer is multiplied by, over the user's samples: E x and E x x^T.

x has one entry for each weight of an output: what a window of the convolution sees, zeros of the padding included, or
what a matrix product reads. Inputs that are held as integers count as what their codes stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_split.data import check_batch
from tvm_split.errors import DataError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.bindings import log
from tvm_split.passes.layer_readings import Reading
from tvm_split.quantizer import Quantizer, quantize_dequantize

#: windows of a layer that count in one run, at random: neighbours in a large map tell little more
WINDOWS = 512
#: what all products of one pass over the samples may take
BUDGET_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Moments:
    """Over `count` inputs x of each of G groups: E x, (G, K), and the sum of (x - E x)(x - E x)^T, (G, K, K).

    In float64, of float32 products of what is left of each run's mean: near constants lose nothing.
    """

    count: int
    means: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> Moments:
        """columns: (G, count, K) float32."""
        means, left = centred(columns)
        return cls(columns.shape[1], means, (left.swapaxes(1, 2) @ left).astype(np.float64))

    def __add__(self, other: Moments) -> Moments:
        count, step = self.count + other.count, other.means - self.means
        between = outer(step, step) * (self.count * other.count / count)
        return Moments(count, self.means + step * (other.count / count), self.apart + other.apart + between)

    def second(self) -> np.ndarray:
        """E x x^T, (G, K, K)."""
        return np.asarray(self.covariances() + outer(self.means, self.means))

    def covariances(self) -> np.ndarray:
        """E (x - E x)(x - E x)^T: what is lost where a bias makes up for the mean."""
        return np.asarray(self.apart / self.count)


def centred(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, (G, K) float64, of columns (G, count, K), and what is left of them, float32."""
    means = columns.mean(axis=1, dtype=np.float64)
    return means, (columns - means[:, np.newaxis, :]).astype(np.float32)


def outer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(G, K) and (G, K) -> (G, K, K)."""
    return np.asarray(one[:, :, np.newaxis] * other[:, np.newaxis, :])


def gather_inputs(
    runner: LayerRunner,
    wanted: Mapping[str, Reading],
    batches: Sequence[Mapping[str, np.ndarray]],
    held: Mapping[str, Quantizer],
    budget_bytes: int = BUDGET_BYTES,
    seed: int = 0,
) -> dict[str, Moments]:
    """The moments of each layer's inputs over all batches, each one run of the network.

    Products beyond `budget_bytes` are left to a further pass over the batches; a layer whose own are beyond it has no
    moments. DataError: no batches, or one that does not fit the inputs.
    """
    if not batches:
        raise DataError("there are no batches to calibrate on; at least 1 is needed, and 16 or more are better")
    found: dict[str, Moments] = {}
    for names in _passes(wanted, budget_bytes):
        random = np.random.default_rng(seed)
        for number, batch in enumerate(batches):
            tensors = dict.fromkeys(wanted[name].data for name in names)
            run = runner.run(check_batch(batch, runner.graph, number), tensors)
            arrays = {name: as_held(array, held.get(name)) for name, array in run.items()}
            for name in names:
                one = Moments.of(wanted[name].columns(arrays[wanted[name].data], WINDOWS, random))
                found[name] = found[name] + one if name in found else one
    return {name: found[name] for name in wanted if name in found}


def _passes(wanted: Mapping[str, Reading], budget_bytes: int) -> Iterator[list[str]]:
    taken: list[str] = []
    room = budget_bytes
    for name, reading in wanted.items():
        if product_bytes(reading) > budget_bytes:
            log.info(
                "'%s' has no products of its inputs: they take %d bytes of %d",
                name,
                product_bytes(reading),
                budget_bytes,
            )
            continue
        if product_bytes(reading) > room:
            yield taken
            taken, room = [], budget_bytes
        taken.append(name)
        room -= product_bytes(reading)
    if taken:
        yield taken


def product_bytes(reading: Reading) -> int:
    """What the products of a layer's inputs take."""
    return 8 * reading.layer.groups * reading.width**2


def as_held(array: np.ndarray, quantizer: Quantizer | None) -> np.ndarray:
    """What readers of the tensor see: its values as the quantiser's codes stand for, or as they are without one."""
    return array if quantizer is None else quantize_dequantize(array, quantizer)
