"""A network with its weights and tensors at any widths, quantised and dequantised in floats: fast to change.

Each layer runs by its own float kernels on what the codes stand for; integer kernels differ from that by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tvm

from tvm_split.calibration.layer_inputs import as_held
from tvm_split.calibration.output_network import nearest, with_weights
from tvm_split.calibration.ranges import Choice
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_weights import LayerWeights

Widths = Mapping[str, int]


@dataclass
class MixedNetwork:
    """runner: of `mod`. weights: of the layers that may be quantised. choices: tensor -> bits -> quantiser."""

    mod: tvm.IRModule
    runner: LayerRunner
    weights: Mapping[str, LayerWeights]
    choices: Mapping[str, Mapping[int, Choice]]
    _changed: dict[tuple[str, int], LayerRunner] = field(default_factory=dict)

    def outputs(self, sample: Mapping[str, np.ndarray], weights: Widths, tensors: Widths) -> list[np.ndarray]:
        """The network's outputs, with these layers' weights and these tensors at these bits and the others as they are.

        KeyError for a tensor without a quantiser of that width.
        """
        graph = self.runner.graph
        held = {name: self.choices[name][bits].quantizer for name, bits in tensors.items()}
        values = {name: as_held(array, held.get(name)) for name, array in sample.items()}
        for layer in graph.layers:
            runner = self._with(layer.name, weights[layer.name]) if layer.name in weights else self.runner
            known = {name: values[name] for name in layer.inputs}
            made = runner.run(known, layer.outputs)
            values |= {name: as_held(array, held.get(name)) for name, array in made.items()}
            for name in known:
                if graph.readers[name][-1] == layer.name and name not in graph.outputs:
                    del values[name]
        return [values[name] for name in graph.outputs]

    def _with(self, name: str, bits: int) -> LayerRunner:
        """With one layer's weights at so many bits; made once."""
        if (name, bits) not in self._changed:
            rounded = nearest(self.weights[name], bits)
            self._changed[name, bits] = with_weights(self.mod, self.runner, name, rounded)
        return self._changed[name, bits]
