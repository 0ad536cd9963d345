"""Statistics against NumPy: the histogram is exact, joining two equals one over all values, and a run gathers them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.calibration.gather import gather, merged
from tvm_split.calibration.statistics import BINS, CHUNK, Statistics, exponent_for
from tvm_split.errors import DataError, ModelError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation


def brute(x, exponent):
    """Number of each value's bin, in float64."""
    return np.floor(x.astype(np.float64) / 2.0**exponent).astype(np.int64)


def check(statistics, x):
    numbers = brute(x.ravel(), statistics.exponent)
    assert (statistics.low, statistics.high, statistics.elements) == (x.min(), x.max(), x.size)
    assert (statistics.first, statistics.first + len(statistics.counts) - 1) == (numbers.min(), numbers.max())
    np.testing.assert_array_equal(statistics.counts, np.bincount(numbers - numbers.min()))
    assert statistics.zeros == (x == 0).sum() and len(statistics.counts) <= BINS
    exact = x.astype(np.float64)
    assert statistics.total == pytest.approx(float(exact.sum()), rel=1e-5, abs=1e-5 * float(np.abs(exact).sum()))


def equal(a, b):
    for name in ("samples", "elements", "low", "high", "zeros", "exponent", "first"):
        assert getattr(a, name) == getattr(b, name), name
    np.testing.assert_array_equal(a.counts, b.counts)
    assert a.total == pytest.approx(b.total, rel=1e-5, abs=1e-3)


numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9), elements=numbers)


@settings(deadline=None)
@given(arrays)
def test_any_array(x):
    check(Statistics.of(x), x)


@settings(deadline=None)
@given(st.lists(arrays, min_size=2, max_size=5), st.randoms())
def test_merge_is_the_whole_in_any_order(parts, random):
    whole = np.concatenate([part.ravel() for part in parts])
    random.shuffle(parts)
    found = Statistics.of(parts[0])
    for part in parts[1:]:
        found = found.merge(Statistics.of(part))
    check(found, whole)
    left = Statistics.of(parts[-1])
    for part in parts[-2::-1]:
        left = Statistics.of(part).merge(left)
    equal(found, left)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int32", "int64", "bool"])
def test_many_values_of_any_type(dtype):
    size = 2 * CHUNK + 77
    x = np.random.default_rng(3).normal(20, 9, size).clip(0, 200).astype(dtype)
    check(Statistics.of(x), x)


def test_at_least_half_of_the_bins_are_used():
    for seed, size in enumerate((1e-6, 0.3, 1, 7, 4095.9, 4096, 1e9)):
        x = np.random.default_rng(seed).uniform(-size, size, 5000).astype(np.float32)
        assert BINS / 2 <= len(Statistics.of(x).counts) <= BINS


@pytest.mark.parametrize("value", [0.0, 2.5, -1e-30, 3e38])
def test_a_constant_tensor(value):
    x = np.full((3, 4), value, np.float32)
    found = Statistics.of(x, channel_axis=1)
    check(found, x)
    assert found.counts.tolist() == [12] and found.edges.tolist() == [x[0, 0]] * 2
    np.testing.assert_allclose(found.channel_means, np.full(4, x[0, 0], np.float64), rtol=1e-6)


def test_the_largest_floats_fit():
    most = np.finfo(np.float32).max
    found = Statistics.of(np.array([-most, 0, most, most], np.float32))
    assert found.exponent == exponent_for(-float(most), float(most)) and found.counts.sum() == 4
    assert found.total == float(most)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(bad):
    x = np.zeros(9, np.float32)
    x[4] = bad
    with pytest.raises(ValueError, match="values from"):
        Statistics.of(x)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 5, 7), 1), ((2, 5, 7, 3), -1), ((4, 3), 1), ((3, 4), 0)])
def test_means_of_channels(shape, axis):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    other = tuple(i for i in range(len(shape)) if i != axis % len(shape))
    np.testing.assert_allclose(Statistics.of(x, axis).channel_means, x.mean(axis=other), rtol=1e-5, atol=1e-6)
    both = Statistics.of(x, axis).merge(Statistics.of(x * 3, axis))
    np.testing.assert_allclose(both.channel_means, 2 * x.mean(axis=other), rtol=1e-5, atol=1e-6)
    assert both.mean == pytest.approx(2 * x.mean(), abs=1e-6)
    with pytest.raises(ValueError, match="no channel axis"):
        _ = Statistics.of(x).channel_means
    with pytest.raises(ValueError, match="the one has 3 channels, the other None"):
        both.merge(Statistics.of(x))


def test_moments():
    x = np.random.default_rng(1).normal(1, 2, 50000).astype(np.float32)
    x[:10000] = 0
    found, rest = Statistics.of(x), x[10000:]
    width = 2.0**found.exponent
    absolute, square = found.moments(0.5)
    assert absolute == pytest.approx(np.abs(rest - 0.5).mean(), abs=width)
    assert square == pytest.approx(np.square(rest - 0.5).mean(), abs=width)
    assert Statistics.of(np.zeros(3, np.float32)).moments() == (0, 0)


W = np.array([[1, -2, 3], [2, 1, -1]], np.float32)


@I.ir_module
class Network:
    @R.function
    def main(x: R.Tensor((1, 2), "float32")) -> R.Tensor((1, 3), "float32"):
        with R.dataflow():
            h = R.matmul(x, R.const(W))
            y = R.nn.relu(h)
            z = R.nn.softmax(y)
            R.output(z)
        return z


@pytest.fixture(scope="module")
def runner():
    return LayerRunner(FuseActivation()(Network))


BATCHES = [{"x": np.array([row], np.float32)} for row in ([1, 2], [-3, 1], [0, -5])]


def test_gather(runner):
    done = []
    found = gather(runner, ["h", "x", "h"], iter(BATCHES), {"h": 1}, done.append)
    x = np.concatenate([batch["x"] for batch in BATCHES])
    h = np.maximum(x @ W, 0)
    assert list(found) == ["h", "x"] and done == [1, 2, 3] and found["h"].samples == 3
    check(found["x"], x)
    check(found["h"], h)
    np.testing.assert_allclose(found["h"].channel_means, h.mean(axis=0))
    later = merged(gather(runner, ["x"], BATCHES[:1]), gather(runner, ["x"], BATCHES[1:]))
    equal(later["x"], found["x"])
    with pytest.raises(ValueError, match=r"only one of both .*\['h'\]"):
        merged(found, later)


def test_bad_runs(runner):
    with pytest.raises(DataError, match="no batches to calibrate on"):
        gather(runner, ["h"], [])
    with pytest.raises(ModelError, match="no tensor 'hh'; there are h"):
        gather(runner, ["hh"], BATCHES)
    with pytest.raises(DataError, match=r"sample 1: the array for input 'x' is float64 \(1, 2\)"):
        gather(runner, ["h"], [BATCHES[0], {"x": np.zeros((1, 2))}])
    with pytest.raises(ModelError, match=r"tensor 'x' has values from nan to nan on batch 3; expected finite"):
        gather(runner, ["x"], [*BATCHES, {"x": np.array([[np.nan, 0]], np.float32)}])
