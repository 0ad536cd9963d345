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
        pairs = list(zip(want, got, strict=True))
        sums = [squared_error(*pair) for pair in pairs]
        kl = agreeing = None
        if scores:
            rows = [each.astype(np.float64).reshape(-1) for each in pairs[0]]
            agreeing = int(same_class(*rows))
            kl = divergence(*rows) if want[0].dtype.kind == "f" else None
        return cls(1, tuple(square for square, _ in sums), tuple(norm for _, norm in sums), kl, agreeing)

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
        return sum(map(relative, self.squares, self.norms))

    @property
    def mean_kl(self) -> float | None:
        return None if self.kl is None else self.kl / self.samples

    @property
    def agreement(self) -> float | None:
        return None if self.agreeing is None else self.agreeing / self.samples


def squared_error(want: np.ndarray, got: np.ndarray) -> tuple[float, float]:
    """Sums, in float64, of (y' - y)^2 and of y^2; the first is infinite when one of `got` is not finite."""
    want, got = want.astype(np.float64), got.astype(np.float64)
    off = float(np.square(got - want).sum())
    return off if math.isfinite(off) else math.inf, float(np.square(want).sum())


def relative(square: float, norm: float, of_zeros: float = 0.0) -> float:
    """Squared error as a share of what is wanted squared. of_zeros: what stands for a norm of 0; without it an error
    of any size is infinite there."""
    norm = norm or of_zeros
    if norm and math.isfinite(square):
        return square / norm
    return math.inf if square else 0.0


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
