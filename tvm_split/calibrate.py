"""The range of each tensor on the user's data, and the quantisers that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tvm_split.calibration.gather import check_tensors
from tvm_split.data import Batch, check_batch
from tvm_split.errors import DataError, ModelError, PlanError
from tvm_split.graph import DTYPE_BITS, Graph, Tensor
from tvm_split.layer_runner import LayerRunner
from tvm_split.plan.problem import Candidate
from tvm_split.quantizer import Quantizer

#: lowest and highest value of a tensor
Range = tuple[float, float]


def ranges(
    runner: LayerRunner, tensors: Iterable[str], batches: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Range]:
    """Lowest and highest value of each named tensor of the runner's network over all batches.

    A batch is one run: input name -> array of the input's shape and dtype. Only one run's tensors are in memory at
    once. A tensor that never varies gets (c, c). DataError: no batches, or one that does not fit the inputs.
    ModelError: an unknown or empty tensor, or one with a value that is not finite, named with its batch.
    """
    graph = runner.graph
    if not batches:
        raise DataError("there are no batches to calibrate on; at least 1 is needed, and 16 or more are better")
    names = check_tensors(tensors, graph)
    samples = [check_batch(batch, graph, number) for number, batch in enumerate(batches)]
    low, high = dict.fromkeys(names, math.inf), dict.fromkeys(names, -math.inf)
    for number, sample in enumerate(samples):
        for name, array in runner.run(sample, names).items():
            least, most = float(array.min()), float(array.max())
            if not (math.isfinite(least) and math.isfinite(most)):
                raise ModelError(
                    f"tensor '{name}' has values from {least} to {most} on batch {number}; expected finite ones. "
                    "Check that batch, the preprocessing and the weights"
                )
            low[name], high[name] = min(low[name], least), max(high[name], most)
    return {name: (low[name], high[name]) for name in names}


def random_batches(graph: Graph, count: int, seed: int) -> list[Batch]:
    """`count` made-up runs, for a user without data: ranges from them are a guess, which the caller must say.

    Float inputs are standard normal; integers uniform from 0 to 255, or to their dtype's largest value if that is less;
    bool is 0 or 1. The same seed gives the same batches. DataError when count < 1 or NumPy has no such dtype.
    """
    if count < 1:
        raise DataError(f"{count} random batches were asked for; expected 1 or more")
    random = np.random.default_rng(seed)
    return [{name: _random(graph, name, random) for name in graph.inputs} for _ in range(count)]


def _random(graph: Graph, name: str, random: np.random.Generator) -> np.ndarray:
    tensor = graph.tensor[name]
    if tensor.is_float:
        try:
            return random.standard_normal(tensor.shape).astype(tensor.dtype)
        except TypeError:
            raise DataError(f"NumPy has no dtype '{tensor.dtype}', which input '{name}' needs") from None
    top = 1 if tensor.dtype == "bool" else min(255, np.iinfo(tensor.dtype).max)
    return random.integers(0, top, tensor.shape, endpoint=True).astype(tensor.dtype)


def is_quantisable(tensor: Tensor, graph: Graph) -> bool:
    """Whether a crossing tensor can be sent narrower: floats that the network makes, and that have elements."""
    return tensor.is_float and tensor.elements > 0 and tensor.name not in graph.inputs


def quantizers_for(candidate: Candidate, graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Quantizer]:
    """The quantiser of each crossing tensor that the candidate sends narrower than its dtype.

    Network inputs, integer tensors, and tensors at 32 bits or their dtype's own width have none. PlanError: such a
    tensor has no range or one that is not finite. A tensor that was constant on the data gets a range from 0 to it.
    """
    quantizers = {}
    for part in candidate.crossing:
        tensor = graph.tensor.get(part.tensor)
        if tensor is None:
            raise PlanError(f"the candidate sends '{part.tensor}', but network '{graph.name}' has no such tensor")
        if not is_quantisable(tensor, graph) or part.bits >= DTYPE_BITS[tensor.dtype]:
            continue
        if tensor.name not in ranges:
            raise PlanError(
                f"crossing tensor '{tensor.name}' is to be sent at {part.bits} bits but has no calibrated range; "
                "add it to the tensors given to calibrate.ranges()"
            )
        quantizers[tensor.name] = Quantizer.of_range(part.bits, *ranges[tensor.name])
    return quantizers
