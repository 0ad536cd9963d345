"""What float16 loses: exact for weights, within the histogram's coarseness for tensors, None beyond 65504."""

import numpy as np
import pytest

from tvm_split.calibration.distortion import activation_choices, activation_distortions, weight_distortions
from tvm_split.calibration.half_error import half_distortion, half_error
from tvm_split.calibration.statistics import Statistics


def lost(array):
    return float(np.square(array.astype("float64") - array.astype("float16").astype("float64")).mean())


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 1e4])
def test_weights(scale):
    array = np.random.default_rng(0).uniform(-scale, scale, 1000).astype("float32")
    assert half_distortion(array) == lost(array)


@pytest.mark.parametrize("kind", ["gauss", "relu", "uniform", "small"])
def test_tensors(kind):
    random = np.random.default_rng(1)
    array = {
        "gauss": lambda: random.normal(size=200_000) * 7,
        "relu": lambda: np.maximum(random.normal(size=200_000), 0),
        "uniform": lambda: random.uniform(0, 60000, 200_000),
        "small": lambda: random.uniform(-1e-6, 1e-6, 200_000),
    }[kind]().astype("float32")
    assert half_error(Statistics.of(array)) == pytest.approx(lost(array), rel=0.05)


def test_zeros_lose_nothing():
    assert half_error(Statistics.of(np.zeros(8, "float32"))) == 0
    assert half_distortion(np.zeros(8, "float32")) == 0


def test_what_float16_cannot_hold():
    for largest in (65504.0, 65505.0):
        array = np.array([0, 1, -largest], "float32")
        assert (half_error(Statistics.of(array)) is None) == (half_distortion(array) is None) == (largest > 65504)


def test_tables_leave_out_16():
    random = np.random.default_rng(2)
    small = random.normal(size=(2, 500)).astype("float32")
    large = small * np.float32(1e5)
    found = weight_distortions({"large": (large, 0), "small": (small, 0)}, (8, 16))
    assert list(found["large"]) == [8] and list(found["small"]) == [8, 16]
    assert found["small"][16] == lost(small)
    statistics = {"large": Statistics.of(large), "small": Statistics.of(small)}
    table = activation_distortions(activation_choices(statistics, (8, 16)), statistics)
    assert sorted(table["large"]) == [8] and sorted(table["small"]) == [8, 16]
    assert table["small"][8] > table["small"][16] > 0
