"""Several reductions in one function, none of them on the others' rows, against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.schedule.several import Several

UNIT = 2.0**-24


def data(shape):
    """What `compare` gives the first parameter."""
    return np.random.default_rng(0).standard_normal(shape).astype("float32").astype("float64")


@pytest.mark.parametrize(
    "shape, axes",
    [((1, 19, 17, 24), [1, 2]), ((2, 16, 15, 6), [1, 2]), ((1, 8, 40, 31), [2, 3]), ((1, 1, 1, 5), [1, 2])],
)
def test_variance(kernel, compare, shape, axes):
    scheduled, _, _ = compare(Several(), kernel(lambda e, x: relax.op.variance(x, axes), shape))
    x, terms = data(shape), int(np.prod([shape[axis] for axis in axes]))
    exact, mean = x.var(axis=tuple(axes)), x.mean(axis=tuple(axes), keepdims=True)
    # the mean is off by terms units of mean |x|, each difference by that and a unit; their squares are summed
    off = (terms + 1) * UNIT * np.abs(x).mean(axis=tuple(axes)) + UNIT * np.abs(x - mean).max(axis=tuple(axes))
    bound = 2 * off * np.abs(x - mean).mean(axis=tuple(axes)) + off**2 + (terms + 3) * UNIT * exact
    assert (np.abs(scheduled - exact) <= 1.01 * bound).all()


@settings(max_examples=6, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(2, 40), st.integers(1, 30), st.integers(4, 33)), st.integers(1, 2))
def test_softmax_over_an_inner_axis(kernel, compare, shape, axis):
    func = kernel(lambda e, x: relax.op.nn.softmax(x, axis), shape)
    scheduled, _, _ = compare(Several(), func, mathematics=True)
    x = data(shape)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    wanted = e / e.sum(axis=axis, keepdims=True)
    # exp: 2 units and what rounding of x - max, at most 10, makes of it; the sum: one unit a term; the quotient: 1
    assert (np.abs(scheduled - wanted) <= (16 + shape[axis]) * 2 * UNIT * wanted).all()


def test_large_ones_use_all_cores(kernel, host):
    func = kernel(lambda e, x: relax.op.nn.softmax(x, 1), (1, 64, 32, 32))
    text = Several().apply(func, host, False).mod.script()
    assert text.count("T.parallel") == 4 and "T.vectorized" in text


def test_a_single_reduction_is_left_to_another_rule(kernel, host):
    assert Several().apply(kernel(lambda e, x: relax.op.add(x, x), (4, 8)), host, False) is None
    assert Several().apply(kernel(lambda e, x: relax.op.sum(x, [1]), (4, 8)), host, False) is None
