"""Weights' quantisers and biases: brute force, dead channels, and layers computed in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.calibration.bias import bias_correction
from tvm_split.calibration.distortion import weight_distortions
from tvm_split.calibration.weights import SHARES, dequantize_weights, quantize_weights, weight_distortion
from tvm_split.errors import PlanError


def weights(shape, seed=0):
    return np.random.default_rng(seed).laplace(0, 1, shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(2, 8), st.sampled_from(["max", "mse"]),
    st.integers(0, 99), st.data(),
)  # fmt: skip
def test_codes_and_scales(shape, bits, method, seed, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    w = weights(shape, seed)
    codes, scales = quantize_weights(w, axis, bits, method)
    top = 2 ** (bits - 1) - 1
    assert codes.dtype == np.int8 and codes.shape == w.shape and np.abs(codes).max() <= top
    assert scales.dtype == np.float32 and scales.shape == (w.shape[axis],) and (scales > 0).all()
    for i, scale in enumerate(scales):
        channel, code = np.take(w, i, axis), np.take(codes, i, axis)
        np.testing.assert_array_equal(code, np.clip(np.rint(channel / scale), -top, top))
        if method == "max":
            assert np.abs(code).max() == top and (np.abs(channel - code * scale) <= scale * 0.5001).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_mse_is_at_least_as_good_as_the_best_of_all_shares(bits):
    w = weights((6, 50), 3)
    codes, scales = quantize_weights(w, 0, bits)
    top = np.float32(2 ** (bits - 1) - 1)
    for row, code, scale in zip(w, codes, scales, strict=True):
        brute = min(
            np.square(row - np.clip(np.rint(row / s), -top, top) * s).sum() for s in SHARES * np.abs(row).max() / top
        )
        assert np.square(row - code * scale).sum() <= brute * (1 + 1e-5)


def test_known_answer_for_gaussian_weights():
    """Three levels, -d, 0 and d, are best for a Gauss variable at d = 1.224 sigma, with an error of 0.190 sigma^2."""
    w = np.random.default_rng(0).standard_normal((1, 200000)).astype(np.float32)
    assert quantize_weights(w, 0, 2)[1][0] == pytest.approx(1.224, abs=0.02)
    assert weight_distortion(w, 0, 2) == pytest.approx(0.190, abs=0.002)


def test_dead_and_tiny_channels():
    w = weights((4, 3, 3, 3))
    w[1], w[2] = 0, 1e-44
    for method in ("max", "mse"):
        codes, scales = quantize_weights(w, 0, 4, method)
        assert scales[1] == 1 and not codes[1].any() and np.isfinite(scales).all() and scales.min() > 0


def test_exact_weights_stay_exact():
    codes = np.array([[7, -7, 3, 0], [1, -2, 5, 7]])
    w = (codes * np.array([[0.25], [3]])).astype(np.float32)
    for method in ("max", "mse"):
        found, scales = quantize_weights(w, 0, 4, method)
        np.testing.assert_array_equal(found, codes)
        np.testing.assert_array_equal(dequantize_weights(found, scales, 0), w)


def test_distortion():
    w = weights((5, 7, 3), 2)
    table = weight_distortions({"a": (w, 1), "b": (np.zeros((2, 2), np.float32), 0)}, (2, 4, 8, 16))
    assert table["a"][2] > table["a"][4] > table["a"][8] > table["a"][16] > 0
    assert set(table["b"].values()) == {0}
    largest = np.abs(w).max(axis=(0, 2), keepdims=True) / 32767
    reference = np.rint(w / largest) * largest
    codes, scales = quantize_weights(w, 1, 4)
    want = np.square(reference - codes * scales[:, np.newaxis]).mean()
    assert table["a"][4] == pytest.approx(want, rel=1e-4) == weight_distortion(w, 1, 4)
    assert weight_distortion(w, 1, 4, "max") > table["a"][4]


def test_refused():
    with pytest.raises(PlanError, match="cannot be quantised to 9 bits; the widths are 2 to 8"):
        quantize_weights(weights((2, 2)), 0, 9)
    with pytest.raises(PlanError, match="no method 'best' for weights; there are max, mse"):
        quantize_weights(weights((2, 2)), 0, 4, "best")
    with pytest.raises(PlanError, match=r"weights of int32 \(2,\) are not all finite floats"):
        quantize_weights(np.zeros(2, np.int32), 0, 4)
    with pytest.raises(PlanError, match="not all finite"):
        quantize_weights(np.array([[np.nan]], np.float32), 0, 4)


def convolve(x, w, groups):
    """x (N, C, H, W) with w (O, I, KH, KW), no padding, stride 1."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    return np.concatenate(
        [
            np.einsum("nchwij,ocij->nohw", windows[:, g * inputs :][:, :inputs], w[g * outputs :][:outputs])
            for g in range(groups)
        ],
        axis=1,
    )


@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(6, 4, 1), (6, 2, 2), (5, 1, 5), (10, 1, 5)])
def test_the_corrected_bias_gives_the_mean_back(outputs, inputs, groups):
    """Every window sees the same means when each channel is constant, so the correction is then exact."""
    random = np.random.default_rng(4)
    means = random.normal(1, 1, inputs * groups)
    x = np.broadcast_to(means[:, np.newaxis, np.newaxis], (3, inputs * groups, 6, 7)) + 0.0
    w = weights((outputs, inputs, 3, 2)).astype(np.float64)
    rounded = np.rint(w)
    found = bias_correction(w, rounded, means, "OIHW", groups)
    lost = (convolve(x, w, groups) - convolve(x, rounded, groups)).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(found, lost, rtol=1e-9, atol=1e-12)
    moved = bias_correction(w.transpose(2, 3, 1, 0), rounded.transpose(2, 3, 1, 0), means, "HWIO", groups)
    np.testing.assert_allclose(moved, found, rtol=1e-12)


def test_the_corrected_bias_of_a_matmul():
    x = np.random.default_rng(5).normal(2, 1, (100, 9))
    w = weights((9, 4)).astype(np.float64)
    found = bias_correction(w, np.rint(w), x.mean(axis=0), "IO")
    np.testing.assert_allclose(found, (x @ w - x @ np.rint(w)).mean(axis=0), rtol=1e-9)


def test_shapes_that_do_not_fit():
    w = weights((4, 3, 1, 1))
    with pytest.raises(ValueError, match=r"means \(4,\)"):
        bias_correction(w, w, np.zeros(4))
    with pytest.raises(ValueError, match="kernel layout IO"):
        bias_correction(w, w, np.zeros(3), "IO")
