"""The range that keeps most of the histogram's information: least Kullback-Leibler divergence after quantisation.

As TensorRT's calibrator and onnxruntime's describe it: P is the histogram inside the range, with all that lies outside
added to its ends; Q is the histogram inside the range *without* that, its mass spread evenly, level by level, over the
bins that are not empty. Here a bin belongs to the level nearest to its middle, so that it holds for any width and zero
point. Exact zeros are left out: they stay zeros, and after a ReLU they would decide alone.
"""

from __future__ import annotations

import numpy as np

from tvm_split.calibration.statistics import Statistics

#: shares of both ends that are tried, the widest first
SHARES = np.arange(64, 0, -1) / 64


def entropy_range(statistics: Statistics, bits: int) -> tuple[float, float]:
    """Shrinks both ends by the same share. Ties go to the wider range, so a width that keeps all bins apart clips none.

    A tensor of exact zeros alone keeps its range.
    """
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    middles, counts = (statistics.edges[:-1] + statistics.edges[1:]) / 2, statistics.nonzero_counts
    if not counts.any():
        return low, high
    found = [_divergence(middles, counts, bits, share * low, share * high) for share in SHARES]
    best = float(SHARES[int(np.argmin(found))])
    return best * low, best * high


def _divergence(middles: np.ndarray, counts: np.ndarray, bits: int, low: float, high: float) -> float:
    """Divergence in nats; infinite where values outside the range would fall on bins that are empty."""
    begin, end = np.searchsorted(middles, low), np.searchsorted(middles, high, side="right")
    kept = counts[begin:end]
    mass = kept.sum()
    if not mass:
        return np.inf
    clipped = kept.copy()
    clipped[0] += counts[:begin].sum()
    clipped[-1] += counts[end:].sum()
    if (clipped[[0, -1]] > 0)[kept[[0, -1]] == 0].any():
        return np.inf
    scale, filled = (high - low) / (2**bits - 1), kept > 0
    levels = np.rint(middles[begin:end][filled] / scale).astype(np.int64)
    levels -= levels[0]  # in order, and only whether two bins share a level matters
    spread = (np.bincount(levels, kept[filled]) / np.maximum(np.bincount(levels), 1))[levels]
    p = clipped[filled] / clipped.sum()
    return float((p * np.log(p * mass / spread)).sum())
