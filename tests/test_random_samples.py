"""Made-up samples: of the inputs' dtypes, and the same for the same seed."""

import numpy as np
import pytest

from tvm_split.errors import DataError
from tvm_split.graph import Graph, Tensor
from tvm_split.random_samples import random_batches


def test_random_batches():
    kinds = ["float32", "float16", "uint8", "int8", "int64", "bool"]
    graph = Graph("g", tuple(Tensor(kind, (2, 5000), kind) for kind in kinds), (), tuple(kinds), ("float32",))
    first, second = random_batches(graph, 2, seed=1)
    again = random_batches(graph, 2, seed=1)[1]
    for kind in kinds:
        assert first[kind].shape == (2, 5000) and first[kind].dtype == kind
        np.testing.assert_array_equal(second[kind], again[kind])
        assert not np.array_equal(first[kind], second[kind])
    assert abs(first["float32"].mean()) < 0.05 and abs(first["float32"].std() - 1) < 0.05
    limits = {"uint8": (0, 255), "int8": (0, 127), "int64": (0, 255), "bool": (0, 1)}
    assert {kind: (int(first[kind].min()), int(first[kind].max())) for kind in limits} == limits
    with pytest.raises(DataError, match="0 random batches were asked for"):
        random_batches(graph, 0, seed=1)
