"""One layer's weights rounded for itself, by second-order error over what the float network gives the layer.

What a layer loses so is what bits should be chosen by where weights are then rounded in order (`sequential`): the
nearest codes lose many times as much, and not in the same places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_split.calibration.layer_inputs import Moments
from tvm_split.calibration.sequential import BUDGET_BYTES, WINDOWS, Pair, product_bytes, rounded_pair
from tvm_split.data import check_batch
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_readings import Reading
from tvm_split.passes.round_weights import Rounded


class RoundedAlone:
    """(layer, bits) -> its weights; None for a layer not in `readings`, or whose products overflow or are too many.

    runner, readings: of the float network. Layers are cheapest in the network's order: one run over the samples finds
    the products of as many as `budget` bytes hold.
    """

    def __init__(
        self,
        runner: LayerRunner,
        readings: Mapping[str, Reading],
        batches: Sequence[Mapping[str, np.ndarray]],
        budget: int = BUDGET_BYTES,
        seed: int = 0,
    ) -> None:
        self.batches = [check_batch(batch, runner.graph, number) for number, batch in enumerate(batches)]
        self._runner, self._seed, self._budget = runner, seed, budget
        self._readings = {name: each for name, each in readings.items() if product_bytes(each) <= budget}
        self._place = {name: i for i, name in enumerate(readings)}
        self._moments: dict[str, Moments] = {}

    def __call__(self, name: str, bits: int) -> Rounded | None:
        if name not in self._readings:
            return None
        if name not in self._moments:
            self._moments = self._gathered(self._from(name))
        found = self._moments[name]
        return rounded_pair(self._readings[name], Pair(found, found.means, found.apart), bits)

    def _from(self, first: str) -> list[str]:
        """The layer, and those after it that the budget still holds."""
        order, room, taken = list(self._readings), self._budget, list[str]()
        for name in order[order.index(first) :]:
            room -= product_bytes(self._readings[name])
            if room < 0:
                break
            taken.append(name)
        return taken

    def _gathered(self, names: Sequence[str]) -> dict[str, Moments]:
        found: dict[str, Moments] = {}
        wanted = list(dict.fromkeys(self._readings[name].data for name in names))
        for number, batch in enumerate(self.batches):
            made = {**batch, **self._runner.run(batch, [name for name in wanted if name not in batch])}
            for name in names:
                reading = self._readings[name]
                # of its own, so that the weights are the same whichever layers are gathered with it
                random = np.random.default_rng((self._seed, self._place[name], number))
                here = Moments.of(reading.columns(made[reading.data], WINDOWS, random))
                found[name] = found[name] + here if name in found else here
        return found
