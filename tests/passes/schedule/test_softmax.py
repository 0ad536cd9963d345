"""Softmax over any axis and normalisation of layers, against float64."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.schedule.softmax import Softmax

EPSILON = 2.0**-24


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize(
    "shape, axis",
    [((1, 1000), 1), ((40, 6625), 1), ((2, 8, 40, 40), 3), ((3, 509), 1), ((64, 10), 1), ((1, 7, 96), -1)],
)
def test_softmax(kernel, compare, shape, axis):
    func = kernel(lambda e, x: relax.op.nn.softmax(x, axis), shape)
    scheduled, _, schedule = compare(Softmax(), func, mathematics=True)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    wanted = softmax(x.astype("float64"), axis)
    # exp: 2 units and what rounding of x - max, at most 10, makes of it; the sum: one unit a term; the quotient: 1
    bound = (4 + 10 + shape[axis] + 2) * 2 * EPSILON
    assert (np.abs(scheduled - wanted) <= bound * wanted).all()
    assert schedule.mod.script().count("T.parallel") <= 1


def test_normalisation_of_layers(kernel, compare):
    def body(emit, x, gamma, beta):
        return relax.op.nn.layer_norm(x, gamma, beta, axes=[-1])

    scheduled, written, _ = compare(Softmax(), kernel(body, (1, 40, 128), (128,), (128,)))
    assert np.abs(scheduled - written).max() <= 2 * 128 * 2**-23 * np.abs(written).max()


def test_one_reduction_is_left_to_another_rule(kernel, host):
    assert Softmax().apply(kernel(lambda e, x: relax.op.mean(x, [1]), (4, 8)), host, False) is None
