"""Range methods: published constants, brute force on the same grid, and the error of real quantisers on real values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.calibration.aciq_range import gauss_alpha, laplace_alpha
from tvm_split.calibration.distortion import activation_choices, activation_distortions
from tvm_split.calibration.entropy_range import SHARES
from tvm_split.calibration.histogram_error import errors, mse
from tvm_split.calibration.least_error_range import COARSE, least_error_range
from tvm_split.calibration.ranges import METHODS, best_range, percentile_range, range_by
from tvm_split.calibration.statistics import Statistics
from tvm_split.quantizer import Quantizer, quantize_dequantize

WIDTHS = (2, 3, 4, 6, 8)


def values(kind, seed=0, size=40000):
    random = np.random.default_rng(seed)
    made = {
        "gauss": random.normal(0, 2, size),
        "laplace": random.laplace(0.5, 1, size),
        "relu": np.maximum(random.laplace(0, 1, size), 0),
        "relu6": np.clip(random.normal(1, 4, size), 0, 6),
        "negative": -np.abs(random.normal(0, 2, size)),
        "far": random.normal(50, 1, size),
        "outlier": np.append(random.normal(0, 1, size), [90.0]),
    }[kind]
    return made.astype(np.float32)


KINDS = ("gauss", "laplace", "relu", "relu6", "negative", "far", "outlier")


def measured(x, quantizer):
    return float(np.square(quantize_dequantize(x, quantizer).astype(np.float64) - x).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_error_on_the_histogram_is_that_of_the_values(kind, bits):
    x = values(kind)
    statistics = Statistics.of(x)
    for low, high in ((statistics.low, statistics.high), (statistics.low / 3, statistics.high / 3), (-0.1, 0.2)):
        quantizer = Quantizer.of_range(bits, low, high)
        want = measured(x, quantizer)
        within_bin = 2 * 2.0**statistics.exponent * (np.sqrt(want) + 2.0**statistics.exponent)
        assert mse(statistics, quantizer) == pytest.approx(want, rel=0.02, abs=within_bin / 20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", (1, 3, 4))
def test_errors_to_other_powers(kind, power):
    x = values(kind)
    statistics = Statistics.of(x)
    quantizer = Quantizer.of_range(3, statistics.low / 2, statistics.high / 2)
    want = float((np.abs(quantize_dequantize(x, quantizer).astype(np.float64) - x) ** power).mean())
    found = errors(statistics, 3, [quantizer.scale], [quantizer.zero_point], power)
    assert found[0] == pytest.approx(want, rel=0.03)


@pytest.mark.parametrize("bits", (2, 4))
def test_a_higher_power_clips_less(bits):
    statistics = Statistics.of(values("laplace", 4))
    widths = [high - low for low, high in (least_error_range(statistics, bits, power) for power in (1, 2, 3, 4))]
    assert widths == sorted(widths) and widths[0] < widths[-1]
    cubed = range_by("l3", statistics, bits)
    assert (cubed.low, cubed.high) == least_error_range(statistics, bits, 3)


@pytest.mark.parametrize("bits", WIDTHS)
def test_points_of_mass_count_exactly(bits):
    x = np.array([0] * 90 + [6] * 9 + [3], np.float32)
    quantizer = Quantizer.of_range(bits, 0, 5)
    statistics = Statistics.of(x)
    assert mse(statistics, quantizer) == pytest.approx(measured(x, quantizer), rel=1e-3)
    assert mse(Statistics.of(np.zeros(5, np.float32)), quantizer) == 0


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from(WIDTHS), st.integers(0, 9))
def test_the_mse_range_beats_every_pair_of_the_grid(kind, bits, seed):
    statistics = Statistics.of(values(kind, seed, 500))
    low, high = min(statistics.low, 0), max(statistics.high, 0)
    brute = min(mse(statistics, Quantizer.of_range(bits, a * low, b * high)) for a in COARSE for b in COARSE)
    assert range_by("mse", statistics, bits).mse <= brute * (1 + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_the_best_is_the_least(kind, bits):
    statistics = Statistics.of(values(kind, 5))
    found = {method: range_by(method, statistics, bits) for method in METHODS}
    best = best_range(statistics, bits)
    assert best.mse == min(choice.mse for choice in found.values()) and best == found[best.method]
    assert found["mse"].mse <= 1.02 * best.mse and best.mse <= found["min-max"].mse
    for choice in found.values():
        assert min(statistics.low, 0) <= choice.low <= choice.high <= max(statistics.high, 0)


def test_known_constants_of_aciq():
    np.testing.assert_allclose([laplace_alpha(bits) for bits in (2, 3, 4)], [2.83, 3.89, 5.03], atol=0.01)
    np.testing.assert_allclose([gauss_alpha(bits) for bits in (2, 3, 4)], [1.71, 2.15, 2.55], atol=0.01)


@pytest.mark.parametrize("bits", (2, 3, 4))
def test_aciq_on_its_own_distribution(bits):
    gauss = range_by("aciq-gauss", Statistics.of(values("gauss", 1)), bits)
    np.testing.assert_allclose((gauss.low, gauss.high), np.array([-2, 2]) * gauss_alpha(bits), rtol=0.03, atol=0.02)
    laplace = range_by("aciq-laplace", Statistics.of(values("laplace", 1)), bits)
    np.testing.assert_allclose(
        (laplace.low, laplace.high), 0.5 + np.array([-1, 1]) * laplace_alpha(bits), rtol=0.03, atol=0.02
    )
    relu = Statistics.of(values("relu", 1))
    assert range_by("aciq-laplace", relu, bits).low == 0
    assert range_by("aciq-laplace", relu, bits).high == pytest.approx(laplace_alpha(bits + 1), rel=0.03)
    negative = range_by("aciq-gauss", Statistics.of(values("negative", 1)), bits)
    assert negative.high == 0 and negative.low == pytest.approx(-2 * gauss_alpha(bits + 1), rel=0.03)


def test_min_max_and_percentile():
    x = np.arange(1, 20001, dtype=np.float32)
    statistics = Statistics.of(x)
    width = 2.0**statistics.exponent
    assert (range_by("min-max", statistics, 8).low, range_by("min-max", statistics, 8).high) == (1, 20000)
    low, high = percentile_range(statistics, 8)
    assert low == 0 and high == pytest.approx(np.quantile(x, 0.9999), abs=width)
    low, high = percentile_range(Statistics.of(x - 10000), 8)
    assert (low, high) == (pytest.approx(-9998, abs=width), pytest.approx(9999, abs=width))
    low, high = percentile_range(Statistics.of(-x), 8)
    assert high == 0 and low == pytest.approx(-np.quantile(x, 0.9999), abs=width)


def brute_divergence(x, bits, high):
    """TensorRT's, for values of one sign: each quantised bin's mass spread over its source bins that are not empty."""
    statistics = Statistics.of(x)
    edges, counts = statistics.edges, statistics.nonzero_counts
    middles = (edges[1:] + edges[:-1]) / 2
    inside = middles <= high
    p = counts[inside].copy()
    p[-1] += counts[~inside].sum()
    if counts[inside][-1] == 0 and p[-1] > 0:
        return np.inf
    level = np.rint(middles[inside] / (high / (2**bits - 1)))
    q = np.zeros_like(p)
    for each in np.unique(level):
        mine = (level == each) & (counts[inside] > 0)
        q[mine] = counts[inside][mine].sum() / max(mine.sum(), 1)
    p, q = p / p.sum(), q / q.sum()
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize("bits", (2, 4))
def test_entropy_equals_brute_force(bits):
    x = values("relu", 2, 3000)
    found = range_by("entropy", Statistics.of(x), bits)
    brute = [brute_divergence(x, bits, share * float(x.max())) for share in SHARES]
    assert found.high == pytest.approx(float(x.max()) * SHARES[int(np.argmin(brute))]) and found.high < x.max()


def test_entropy_keeps_the_whole_range_when_all_bins_stay_apart():
    statistics = Statistics.of(values("gauss"))
    found = range_by("entropy", statistics, 16)
    assert (found.low, found.high) == (statistics.low, statistics.high)


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_never_varied_keeps_its_value(method, value):
    x = np.full(7, value, np.float32)
    choice = range_by(method, Statistics.of(x), 4)
    assert (choice.low, choice.high) == (value, value)
    assert quantize_dequantize(x, choice.quantizer)[0] == pytest.approx(value, rel=1e-6)
    assert choice.mse == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_two_values(method):
    choice = range_by(method, Statistics.of(np.array([0, 0, 5], np.float32)), 2)
    assert 0 <= choice.low <= choice.high <= 5


def test_tables():
    statistics = {kind: Statistics.of(values(kind)) for kind in ("gauss", "relu")}
    choices = activation_choices(statistics, (2, 4, 8, 16))
    table = activation_distortions(choices)
    assert choices["relu"][4] == best_range(statistics["relu"], 4)
    for row in table.values():
        assert list(row) == [2, 4, 8, 16] and row[2] > row[4] > row[8] > row[16] > 0
    plain = activation_distortions(activation_choices(statistics, (2,), "min-max"))
    assert plain["gauss"][2] > table["gauss"][2]
    with pytest.raises(KeyError):
        activation_choices(statistics, (2,), "minmax")


@pytest.mark.parametrize("far", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("one_sided", [False, True])
def test_an_outlier_far_away_does_not_inflate_the_error(far, one_sided):
    """A few of many values are so far away that all others are in the two bins beside 0."""
    x = np.random.default_rng(3).normal(0, 1, 300_000).astype("float32")
    x = np.abs(x) if one_sided else x
    x[::7] = 0
    x[5] = far
    whole = Statistics.of(x)
    halves = Statistics.of(x[: len(x) // 2]).merge(Statistics.of(x[len(x) // 2 :]))
    for statistics in (whole, halves):
        for bits in (4, 8):
            for method in ("min-max", "percentile", "l3"):
                choice = range_by(method, statistics, bits)
                off = quantize_dequantize(x, choice.quantizer).astype(np.float64) - x
                assert choice.mse == pytest.approx(np.square(off).mean(), rel=0.35), (bits, method)
        assert statistics.inside.sum() == x.size and statistics.nonzero_counts.sum() == (x != 0).sum()
