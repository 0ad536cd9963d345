"""Reductions: the same bits where the order stays, else within the bound of any order; nothing read beyond the end."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.schedule.reduction import Reduction

op = relax.op
KEPT = {
    "global_nhwc": (lambda e, x: op.mean(x, [1, 2], keepdims=True), (1, 7, 7, 320)),
    "leading": (lambda e, x: op.sum(x, [0]), (300, 70)),
    "max": (lambda e, x: op.max(x, [1, 2]), (1, 9, 9, 24)),
    "short_rows": (lambda e, x: op.sum(x, [2, 3]), (1, 96, 7, 7)),
    "product": (lambda e, x, y: op.matmul(x, y), (30, 40), (40, 64)),
}
CHANGED = {
    "rows": (lambda e, x: op.mean(x, [2]), (1, 40, 640)),
    "odd_rows": (lambda e, x: op.sum(x, [1]), (12, 6625)),
    "prime_rows": (lambda e, x: op.sum(x, [1]), (64, 509)),
    "global_nchw": (lambda e, x: op.mean(x, [2, 3], keepdims=True), (1, 24, 40, 40)),
    "dot_products": (lambda e, x, y: op.matmul(x, op.permute_dims(y)), (9, 512), (16, 512)),
}
EPSILON = 2.0**-24


@pytest.mark.parametrize("name", KEPT)
def test_the_order_of_summation_stays(kernel, compare, name):
    body, *shapes = KEPT[name]
    scheduled, written, _ = compare(Reduction(), kernel(body, *shapes))
    assert np.array_equal(scheduled, written)


@pytest.mark.parametrize("name", list(CHANGED)[:-1])
def test_partial_sums_are_within_the_bound_of_any_order(kernel, compare, name):
    body, *shapes = CHANGED[name]
    scheduled, written, _ = compare(Reduction(), kernel(body, *shapes))
    terms = int(np.prod(shapes[0])) // scheduled.size
    x = np.random.default_rng(0).standard_normal(shapes[0]).astype("float32").astype("float64")
    axes = {"rows": 2, "odd_rows": 1, "prime_rows": 1, "global_nchw": (2, 3)}[name]
    sizes = np.abs(x).sum(axis=axes, keepdims=name == "global_nchw")
    if name in ("rows", "global_nchw"):
        sizes = sizes / terms
    # each of both orders is within terms * epsilon * sizes of the exact sum; the division rounds both once
    bound = 2 * (terms + 1) * EPSILON * sizes * (1 + 1e-3)
    assert (np.abs(scheduled.astype("float64") - written) <= bound).all()


@pytest.mark.parametrize("terms", [509, 508, 514, 1000, 6625])
def test_maxima_are_exact_and_nothing_is_read_beyond_the_end(kernel, compare, terms):
    """Rows lie one after the other, each larger than the one before: whoever read beyond a row would find more."""
    func = kernel(lambda e, x, y: op.max(e(op.add(x, y)), [1]), (33, terms), (33, 1))
    scheduled, written, _ = compare(Reduction(), func, scale=100.0)
    assert np.array_equal(scheduled, written)
