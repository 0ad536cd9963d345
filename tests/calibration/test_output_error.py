"""Errors of outputs against hand-made numbers and SciPy's divergence."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax

from tvm_split.calibration.output_error import OutputError, divergence, relative, squared_error
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.metrics import class_count

SCORES = arrays(np.float64, 5, elements=st.floats(-30, 30))


def row(*values):
    return np.array([values], np.float32)


def graph(shape, dtype="float32"):
    return Graph(
        "g",
        (Tensor("x", (1,), "float32"), Tensor("y", shape, dtype)),
        (Layer("l", "op", ("x",), ("y",)),),
        ("x",),
        ("y",),
    )


def test_two_outputs_over_two_samples():
    one = OutputError.of([row(3, 0, 4), row(1, 1)], [row(3, 0, 5), row(1, 0)], scores=True)
    assert (one.squares, one.norms, one.agreeing) == ((1.0, 1.0), (25.0, 2.0), 1)
    other = OutputError.of([row(0, 5, 0), row(1, 1)], [row(9, 5, 0), row(1, 1)], scores=True)
    both = one + other
    assert both.mse == pytest.approx(82 / 50 + 1 / 4)
    assert both.agreement == 0.5 and both.samples == 2
    assert both.mean_kl == pytest.approx((one.kl + other.kl) / 2)


def test_outputs_that_are_no_scores_have_squares_alone():
    found = OutputError.of([row(3, 4)], [row(3, 3)], scores=False)
    assert (found.mse, found.mean_kl, found.agreement) == (pytest.approx(1 / 25), None, None)


def test_where_nothing_is_wanted_squares_may_count_as_they_are():
    assert squared_error(row(0, 0), row(3, 4)) == (25.0, 0.0)
    assert (relative(25, 0), relative(25, 0, of_zeros=1.0), relative(0, 0, of_zeros=1.0)) == (math.inf, 25, 0)
    assert (relative(25, 50, of_zeros=1.0), relative(math.inf, math.inf)) == (0.5, math.inf)


def test_quantised_scores_agree_but_have_no_divergence():
    found = OutputError.of([np.array([[1, 9]], np.uint8)], [np.array([[8, 2]], np.uint8)], scores=True)
    assert (found.kl, found.agreeing) == (None, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_not_finite_is_infinitely_wrong(bad):
    found = OutputError.of([row(1, 2)], [row(1, bad)], scores=True)
    assert found.mse == found.mean_kl == math.inf
    assert (found + found).mse == math.inf


def test_nothing_of_nothing_is_no_error_and_something_is_infinite():
    assert OutputError.of([row(0, 0)], [row(0, 0)], False).mse == 0
    assert OutputError.of([row(0, 0)], [row(0, 1)], False).mse == math.inf


@settings(deadline=None)
@given(SCORES, SCORES, st.floats(-50, 50))
def test_divergence_is_that_of_the_softmax_whatever_is_added_to_all_scores(want, got, added):
    assume((want < 0).any() or abs(want.sum() - 1) > 0.01)  # else they are probabilities, taken as they are
    expected = rel_entr(softmax(want), softmax(got)).sum()
    assert divergence(want, got) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert divergence(want, got + added) == pytest.approx(divergence(want, got), rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_probabilities_are_taken_as_they_are(want, got):
    want, got = softmax(want / 10), softmax(got / 10)
    assert divergence(want, got) == pytest.approx(rel_entr(want, got).sum(), rel=1e-6, abs=1e-12)


def test_a_probability_of_zero_is_far_but_not_infinitely():
    assert divergence(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(
        0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-12)
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [((1, 7), "float32", True), ((1, 1, 7), "uint8", True), ((1, 2, 7), "float32", False), ((1, 1), "float32", False),
     ((), "float32", False), ((1, 7), "int64", False)],
)  # fmt: skip
def test_scores_are_one_row(shape, dtype, expected):
    assert (class_count(graph(shape, dtype)) is not None) is expected
