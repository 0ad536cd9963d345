"""Made-up samples, for a user without data: what is calibrated on them is a guess."""

from __future__ import annotations

import numpy as np

from tvm_split.data import Batch
from tvm_split.errors import DataError
from tvm_split.graph import Graph


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
