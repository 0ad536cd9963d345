"""Auto-Split's distortions D_i^a(b) and D_i^w(b) (KDD 2021, constraint 5b), for tensors, layers and widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tvm_split.calibration.half_error import half_distortion, half_error
from tvm_split.calibration.ranges import Choice, best_range, range_by
from tvm_split.calibration.statistics import Statistics
from tvm_split.calibration.weights import weight_distortion
from tvm_split.plan.precision import HALF_BITS

#: name -> bits -> mean squared error, in the square of the tensor's unit
Table = dict[str, dict[int, float]]


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


def activation_distortions(
    choices: Mapping[str, Mapping[int, Choice]], statistics: Mapping[str, Statistics] | None = None
) -> Table:
    """D_i^a(b): mean squared error of each chosen quantiser on the tensor's histogram; 0 beyond 16 bits.

    Against the floats themselves: the paper's 16-bit version of them is within 1/131070 of the range, far below the
    error of any width that is compared. With statistics, the error at 16 bits is that of float16 if it is larger than
    that of the quantiser, and there is none where float16 cannot hold the tensor.
    """
    table: Table = {}
    for name, found in choices.items():
        table[name] = {bits: choice.mse if bits <= HALF_BITS else 0.0 for bits, choice in found.items()}
        if statistics is not None and HALF_BITS in found:
            error = half_error(statistics[name])
            if error is None:
                del table[name][HALF_BITS]
            else:
                table[name][HALF_BITS] = max(error, found[HALF_BITS].mse)
    return table


def weight_distortions(
    weights: Mapping[str, tuple[np.ndarray, int]], widths: Iterable[int], method: str = "mse"
) -> Table:
    """D_i^w(b) of each layer's weights, given with their axis of output channels; see `weights.weight_distortion`.

    At 16 bits the mean squared error of float16, and none where that cannot hold the weights.
    """
    wanted = tuple(widths)
    table: Table = {}
    for name, (array, axis) in weights.items():
        table[name] = {bits: weight_distortion(array, axis, bits, method) for bits in wanted if bits != HALF_BITS}
        error = half_distortion(array) if HALF_BITS in wanted else None
        if error is not None:
            table[name][HALF_BITS] = error
    return table
