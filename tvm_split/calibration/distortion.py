"""Auto-Split's distortions D_i^a(b) and D_i^w(b) (KDD 2021, constraint 5b), for tensors, layers and widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tvm_split.calibration.ranges import Choice, best_range, range_by
from tvm_split.calibration.statistics import Statistics
from tvm_split.calibration.weights import weight_distortion

#: name -> bits -> mean squared error, in the square of the tensor's unit
Table = dict[str, dict[int, float]]

#: the paper's reference: what is quantised to these many bits has no distortion
REFERENCE_BITS = 16


def activation_choices(
    statistics: Mapping[str, Statistics], widths: Iterable[int], method: str | None = None
) -> dict[str, dict[int, Choice]]:
    """For each tensor and width the range and its quantiser: the method's, or without one the least error of all.

    KeyError for an unknown method (`ranges.METHODS`).
    """
    wanted = tuple(widths)
    return {
        name: {bits: best_range(each, bits) if method is None else range_by(method, each, bits) for bits in wanted}
        for name, each in statistics.items()
    }


def activation_distortions(choices: Mapping[str, Mapping[int, Choice]]) -> Table:
    """D_i^a(b): mean squared error of each chosen quantiser on the tensor's histogram; 0 from 16 bits on.

    Against the floats themselves: the paper's 16-bit version of them is within 1/131070 of the range, far below the
    error of any width that is compared.
    """
    return {
        name: {bits: choice.mse if bits < REFERENCE_BITS else 0.0 for bits, choice in found.items()}
        for name, found in choices.items()
    }


def weight_distortions(
    weights: Mapping[str, tuple[np.ndarray, int]], widths: Iterable[int], method: str = "mse"
) -> Table:
    """D_i^w(b) of each layer's weights, given with their axis of output channels; see `weights.weight_distortion`."""
    wanted = tuple(widths)
    return {
        name: {bits: weight_distortion(array, axis, bits, method) for bits in wanted}
        for name, (array, axis) in weights.items()
    }
