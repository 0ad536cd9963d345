"""Second-order rounding: never worse than the nearest codes, near the best of all codes, exact where H is diagonal."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.calibration.second_order import SHARES, damped, second_order
from tvm_split.calibration.weights import quantize_weights
from tvm_split.errors import PlanError


def problem(seed, groups, outputs, width, samples):
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(groups, samples, width)) @ random.normal(size=(groups, width, width))
    return random.normal(size=(groups, outputs, width)).astype("float32"), damped(mixed.swapaxes(1, 2) @ mixed)


def lost(rows, codes, scales, products):
    """For each channel."""
    off = rows - codes * scales[..., np.newaxis].astype("float64")
    return np.einsum("gok,gkl,gol->go", off, products, off)


def nearest(rows, bits):
    codes, scales = quantize_weights(rows.reshape(-1, rows.shape[2]), 0, bits)
    return codes.reshape(rows.shape), scales.reshape(rows.shape[:2])


shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 70), st.integers(1, 80))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=shapes, bits=st.integers(2, 8))
def test_never_worse_than_nearest_and_found_again(seed, shape, bits):
    rows, products = problem(seed, *shape)
    near, scales = nearest(rows, bits)
    bound = lost(rows, near, scales, products) * (1 + 1e-9)
    codes, found = second_order(rows, bits, products)
    assert (lost(rows, codes, found, products) <= bound).all()
    top = np.abs(codes).max(axis=2) == 2 ** (bits - 1) - 1
    assert (top | (codes == near).all(axis=2)).all()
    values = codes.astype("float32") * found[..., np.newaxis]
    again, same = nearest(values, bits)
    np.testing.assert_array_equal(again[top], codes[top])
    np.testing.assert_allclose(same[top], found[top], rtol=3e-7)


def test_most_of_the_loss_goes_where_inputs_are_alike():
    rows, products = problem(1, 1, 50, 150, 400)
    codes, scales = nearest(rows, 4)
    found = lost(rows, *second_order(rows, 4, products), products)
    assert found.sum() < 0.5 * lost(rows, codes, scales, products).sum()


@pytest.mark.parametrize(("bits", "width"), [(2, 6), (3, 4)])
def test_near_the_best_of_all_codes(bits, width):
    rows, products = problem(5, 40, 8, width, 20)
    codes, scales = second_order(rows, bits, products)
    top = 2 ** (bits - 1) - 1
    every = np.array(list(itertools.product(range(-top, top + 1), repeat=width)))
    found = lost(rows, codes, scales, products)
    off = rows[:, :, np.newaxis] - every * scales[:, :, np.newaxis, np.newaxis]
    best = np.einsum("gock,gkl,gocl->goc", off, products, off).min(axis=2)
    assert (found >= best * (1 - 1e-9)).all()
    assert found.sum() <= 1.25 * best.sum()
    assert (found <= best * (1 + 1e-9)).mean() > 0.6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 8))
def test_inputs_that_have_nothing_to_do_with_each_other(seed, bits):
    """No worse than the nearest codes at any of the scales that are tried."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(2, 3, 9)).astype("float32")
    products = random.uniform(0.1, 10, size=(2, 9))[:, :, np.newaxis] * np.eye(9)
    found = lost(rows, *second_order(rows, bits, products), products)
    top, (_, scales) = 2 ** (bits - 1) - 1, nearest(rows, bits)
    for tried in (share * scales[..., np.newaxis] for share in SHARES):
        codes = np.clip(np.rint(rows / tried), -top, top)
        used = np.abs(codes).max(axis=2) == top
        assert (found <= lost(rows, codes, tried[..., 0], products) * (1 + 1e-5))[used].all()


def test_dead_inputs_and_dead_layers():
    rows, products = problem(3, 2, 4, 10, 40)
    products[0, 4], products[0, :, 4] = 0, 0
    products[1] = 0
    with pytest.raises(PlanError, match="not positive definite"):
        second_order(rows, 4, products)
    codes, scales = second_order(rows, 4, damped(products))
    steps = rows / scales[..., np.newaxis]
    assert (np.abs(codes - np.clip(steps, -7, 7))[0, :, 4] <= 0.6).all()
    assert (np.abs(codes - np.clip(steps, -7, 7))[1] <= 0.6).all()


def test_channels_of_zeros():
    rows, products = problem(4, 1, 3, 5, 20)
    rows[0, 1] = 0
    codes, scales = second_order(rows, 4, products)
    assert not codes[0, 1].any() and scales[0, 1] == 1
