"""Bias correction: what quantised weights shift a layer's outputs by, on average, is given back by its bias.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight equalization and bias
correction", ICCV 2019, section 4.2, with the means of the inputs measured on the user's data instead of derived.
"""

from __future__ import annotations

import numpy as np


def bias_correction(
    weights: np.ndarray, quantized: np.ndarray, channel_means: np.ndarray, kernel_layout: str = "OIHW", groups: int = 1
) -> np.ndarray:
    """E[(W - Wq) x] for each output channel, float64 (O,): what to add to the bias of the layer with weights Wq.

    weights, quantized: the float weights, and what the codes stand for, in `kernel_layout`: "OIHW" and any other
    order or rank for a convolution ("I" is inputs of a group; depthwise: as many groups as inputs), "IO" for a matmul.
    channel_means: mean of each input channel over the samples, (I * groups,), as `Statistics.channel_means`.

    Padding is ignored: at the border of a padded convolution fewer inputs count, so there the correction is too large.
    ValueError when the shapes do not fit.
    """
    if weights.shape != quantized.shape or weights.ndim != len(kernel_layout):
        raise ValueError(f"weights {weights.shape}, quantised {quantized.shape}, kernel layout {kernel_layout}")
    off = weights.astype(np.float64) - quantized.astype(np.float64)
    outputs, inputs = kernel_layout.index("O"), kernel_layout.index("I")
    taps = np.moveaxis(off, (outputs, inputs), (0, 1))
    rows, columns = taps.shape[:2]
    if rows % groups or channel_means.shape != (groups * columns,):
        raise ValueError(f"{rows} outputs, {columns} inputs in each of {groups} groups, means {channel_means.shape}")
    blocks = taps.reshape(groups, rows // groups, columns, -1).sum(axis=3)
    corrections = np.einsum("goi,gi->go", blocks, channel_means.reshape(groups, columns))
    return np.asarray(corrections.reshape(rows))
