"""The user's samples in two: those that calibrate, and those held back, on which accuracy is checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_split.data import Batch, Samples, load_labelled
from tvm_split.graph import Graph
from tvm_split.random_samples import random_batches
from tvm_split.request import Request

#: random samples of either kind, where there are no others
RANDOM = 4


@dataclass(frozen=True)
class Divided:
    """`checking` are never calibrated on, unless there is one sample only: then `shared` is true and both are that one.

    labels: of `checking`, None where the source has none. read: both kinds together, as they were read.
    """

    calibrating: list[Batch]
    checking: list[Batch]
    labels: np.ndarray | None
    shared: bool = False
    read: Samples | None = None


def divide(samples: Samples, calibrate: int, check: int) -> Divided:
    """At most so many of each, interleaved. Where there are fewer than both together, half calibrate, unless one kind
    needs less than half."""
    total = min(len(samples.batches), calibrate + check)
    if total == 1:
        return Divided(samples.batches[:1], samples.batches[:1], _labels(samples, [0]), True, samples)
    first = min(calibrate, max(total - check, total // 2))
    ranks = np.arange(total + 1) * first // total
    calibrates = ranks[1:] > ranks[:-1]
    own, back = np.flatnonzero(calibrates).tolist(), np.flatnonzero(~calibrates).tolist()
    calibrating, checking = ([samples.batches[i] for i in some] for some in (own, back))
    return Divided(calibrating, checking, _labels(samples, back), read=samples)


def samples_of(request: Request, graph: Graph) -> tuple[Divided, list[str]]:
    """The request's samples, and what to say of them. DataError as `data.load_labelled`."""
    if request.data is None:
        counts = [min(wanted, RANDOM) for wanted in (request.samples, request.check)]
        made = random_batches(graph, sum(counts), request.seed)
        return divide(Samples(made, None, None), *counts), [
            "No --data was given: ranges were calibrated on random inputs, and agreement says little. Give --data."
        ]
    found = load_labelled(request.data, graph, request.samples + request.check)
    used, total = len(found.batches), found.total
    divided = divide(found, request.samples, request.check)
    if total is None or used == total:
        return divided, []
    return divided, [f"{used} of the {total} samples are used; give --check {total - request.samples} for all."]


def _labels(samples: Samples, chosen: list[int]) -> np.ndarray | None:
    return None if samples.labels is None else samples.labels[chosen]
