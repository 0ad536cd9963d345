"""Permutations of axes: the same elements, tiles where they fit."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.schedule.transpose import Transpose


@pytest.mark.parametrize(
    "shape, axes",
    [
        ((1, 32, 28, 28), (0, 2, 3, 1)),
        ((1, 20, 48, 40), (0, 3, 1, 2)),
        ((2, 40, 56, 8), (3, 0, 1, 2)),
        ((200, 176), (1, 0)),
    ],
)
def test_a_permutation_in_tiles(kernel, compare, shape, axes):
    scheduled, written, schedule = compare(Transpose(), kernel(lambda e, x: relax.op.permute_dims(x, axes), shape))
    assert np.array_equal(scheduled, written)
    assert "T.vectorized" in schedule.mod.script()


@pytest.mark.parametrize(
    "shape, axes",
    [((1, 6, 3549), (0, 2, 1)), ((8, 64, 64), (1, 0, 2)), ((16, 16), (1, 0))],
    ids=["odd", "rows", "small"],
)
def test_what_gains_nothing_is_left_alone(kernel, host, shape, axes):
    assert Transpose().apply(kernel(lambda e, x: relax.op.permute_dims(x, axes), shape), host, False) is None
