"""How far a network's outputs are from those of the float network, over samples. Pure NumPy.

mse         sum over outputs of  E |y' - y|^2 / E |y|^2:  1 is as wrong as an output of zeros
kl          E sum_c p_c log(p_c / p'_c) in nats, p the softmax of the first output's scores, where it has any
agreement   share of samples whose largest score is at the same place
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvm_split.errors import ModelError
from tvm_split.graph import Graph
from tvm_split.metrics import same_class

#: scores that are not negative and whose sum is this near to 1 are probabilities already
NEAR_ONE = 1e-3
#: the least probability that counts: a smaller one, 0 above all, is as far as this
LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class OutputError:
    """Sums over `samples` runs, so that those of two sets of samples can be added.

    squares, norms: of each output, the sum of (y' - y)^2 and of y^2. kl: sum of the divergences, None where the first
    output is no row of float scores. agreeing: samples that agree, None where it is no row of scores. A sum is infinite
    when an output y' is not finite.
    """

    samples: int
    squares: tuple[float, ...]
    norms: tuple[float, ...]
    kl: float | None
    agreeing: int | None

    @classmethod
    def of(cls, want: Sequence[np.ndarray], got: Sequence[np.ndarray], scores: bool) -> OutputError:
        """Of one sample: the float network's outputs, which are finite, and others of the same shapes.

        scores: whether the first output is one row of scores (`metrics.class_count`).
        """
        pairs = [
            (a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)) for a, b in zip(want, got, strict=True)
        ]
        squares = tuple(_or_infinite(float(np.square(b - a).sum())) for a, b in pairs)
        norms = tuple(float(np.square(a).sum()) for a, _ in pairs)
        kl = agreeing = None
        if scores:
            agreeing = int(same_class(*pairs[0]))
            kl = divergence(*pairs[0]) if want[0].dtype.kind == "f" else None
        return cls(1, squares, norms, kl, agreeing)

    def __add__(self, other: OutputError) -> OutputError:
        return OutputError(
            self.samples + other.samples,
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
            tuple(a + b for a, b in zip(self.norms, other.norms, strict=True)),
            None if self.kl is None or other.kl is None else self.kl + other.kl,
            None if self.agreeing is None or other.agreeing is None else self.agreeing + other.agreeing,
        )

    @property
    def mse(self) -> float:
        """Relative squared error, summed over the outputs; infinite when only the float network's output is all 0."""
        pairs = zip(self.squares, self.norms, strict=True)
        return sum(square / norm if norm else (math.inf if square else 0.0) for square, norm in pairs)

    @property
    def mean_kl(self) -> float | None:
        return None if self.kl is None else self.kl / self.samples

    @property
    def agreement(self) -> float | None:
        return None if self.agreeing is None else self.agreeing / self.samples


def check_reference(outputs: Sequence[np.ndarray], graph: Graph, sample: int) -> None:
    """ModelError unless the float network's outputs, in the graph's order, are finite: others are held against them."""
    for name, array in zip(graph.outputs, outputs, strict=True):
        if not np.isfinite(array.astype(np.float64)).all():
            raise ModelError(
                f"output '{name}' of the float network is not finite on sample {sample}, so nothing can be compared "
                "with it; check that sample, the preprocessing and the weights"
            )


def divergence(want: np.ndarray, got: np.ndarray) -> float:
    """KL divergence of the softmax of scores `got` from that of `want`, both (C,), in nats; no less than 0.

    Scores that are probabilities are taken as they are: of both, when those of `want` are. Infinite when one of `got`
    is not finite.
    """
    if not np.isfinite(got).all():
        return math.inf
    likely = bool((want >= 0).all()) and abs(float(want.sum()) - 1) <= NEAR_ONE
    p, q = (_log_shares(x) if likely else _log_softmax(x) for x in (want, got))
    return max(0.0, float((np.exp(p) * (p - q)).sum()))


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max()
    return np.asarray(shifted - math.log(float(np.exp(shifted).sum())))


def _log_shares(shares: np.ndarray) -> np.ndarray:
    clipped = np.maximum(shares, LEAST)
    return np.asarray(np.log(clipped / clipped.sum()))


def _or_infinite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
