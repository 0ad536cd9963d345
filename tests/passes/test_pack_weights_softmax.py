"""Softmax of rows: packed and compiled as in a network, against float64, and the same bits on every processor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.pack_weights import PackWeights

UNIT = 2.0**-24  # what rounding to float32 loses of a number, relative
OPERATORS = {False: relax.op.nn.softmax, True: relax.op.nn.log_softmax}


def check(build, check_bits, shape, logarithm, seed=0, scale=3.0):
    x = (scale * np.random.default_rng(seed).standard_normal(shape)).astype("float32")
    mod = build(lambda emit, data: emit(OPERATORS[logarithm](data, -1)), shape)
    below = x.astype("float64") - x.max(axis=-1, keepdims=True)
    total = np.exp(below).sum(axis=-1, keepdims=True)
    # exp: 2 units, and what rounding x - max makes of it; a sum of n terms: n; the quotient, in two steps: 2 more
    of_sum = (2 * 2 + np.abs(below).max() + shape[-1] + 4) * UNIT
    if logarithm:  # the sum's, two differences, and a logarithm to 4 units
        exact = below - np.log(total)
        bound = of_sum + 2 * UNIT * (np.abs(x).max() + np.abs(exact) + 4 * np.log(total))
    else:
        exact = np.exp(below) / total
        bound = (of_sum + (2 * 2 + np.abs(below)) * UNIT) * exact + 2.0**-126
    check_bits(mod, (x,), exact, 1.01 * bound)


@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 19, 197), (7, 64), (2, 5, 333), (1, 1000), (2, 2, 2, 32), (1, 6625)])
def test_against_float64(build, check_bits, shape, logarithm):
    check(build, check_bits, shape, logarithm)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(32, 300), st.booleans(), st.floats(0.1, 20),
    st.integers(0, 99),
)  # fmt: skip
def test_any_rows(build, check_bits, lead, columns, logarithm, scale, seed):
    check(build, check_bits, (*lead, columns), logarithm, seed, scale)


@pytest.mark.parametrize("processor", ["avx2", "avx512", "arm"])
def test_the_rule_takes_it(build, processors, scheduled, processor):
    mod = build(lambda emit, x: emit(relax.op.nn.softmax(x, 2)), (3, 50, 197))
    assert [rule for rule, _ in scheduled(mod, processors[processor])] == ["RowSoftmax"]


@pytest.mark.parametrize("shape, axis", [((4, 64), 0), ((4, 8), 1), ((64,), 0)])
def test_other_axes_and_short_rows_stay(build, processors, caplog, shape, axis):
    before = build(lambda emit, x: emit(relax.op.nn.softmax(x, axis)), shape)
    with caplog.at_level("INFO", "tvm_split.passes"):
        assert PackWeights(processors["avx2"])(before).same_as(before)
    assert "expected the last one" in caplog.text
