"""The user's samples in two: those that calibrate, and those held back, on which accuracy is checked. No TVM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_split.data import Batch, Samples


@dataclass(frozen=True)
class Divided:
    """`checking` are never calibrated on, unless there is one sample only: then `shared` is true and both are that one.

    labels: of `checking`, None where the source has none.
    """

    calibrating: list[Batch]
    checking: list[Batch]
    labels: np.ndarray | None
    shared: bool = False


def divide(samples: Samples, calibrate: int, check: int) -> Divided:
    """At most so many of each, interleaved. Where there are fewer than both together, half calibrate, unless one kind
    needs less than half."""
    total = min(len(samples.batches), calibrate + check)
    if total == 1:
        return Divided(samples.batches[:1], samples.batches[:1], _labels(samples, [0]), shared=True)
    first = min(calibrate, max(total - check, total // 2))
    ranks = np.arange(total + 1) * first // total
    calibrates = ranks[1:] > ranks[:-1]
    own, back = np.flatnonzero(calibrates).tolist(), np.flatnonzero(~calibrates).tolist()
    return Divided([samples.batches[i] for i in own], [samples.batches[i] for i in back], _labels(samples, back))


def _labels(samples: Samples, chosen: list[int]) -> np.ndarray | None:
    return None if samples.labels is None else samples.labels[chosen]
