"""Mean and products of what each weight of a layer is multiplied by, over the user's samples: E x and E x x^T.

x has one entry for each weight of an output: what a window of the convolution sees, zeros of the padding included, or
what a matrix product reads. Inputs that are held as integers count as what their codes stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_split.quantizer import Quantizer, quantize_dequantize


@dataclass(frozen=True, eq=False)
class Moments:
    """Over `count` inputs x of each of G groups: E x, (G, K), and the sum of (x - E x)(x - E x)^T, (G, K, K).

    In float64, of float32 products of what is left of each run's mean: near constants lose nothing.
    """

    count: int
    means: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> Moments:
        """columns: (G, count, K) float32."""
        means, left = centred(columns)
        return cls(columns.shape[1], means, (left.swapaxes(1, 2) @ left).astype(np.float64))

    def __add__(self, other: Moments) -> Moments:
        count, step = self.count + other.count, other.means - self.means
        between = outer(step, step) * (self.count * other.count / count)
        return Moments(count, self.means + step * (other.count / count), self.apart + other.apart + between)

    def second(self) -> np.ndarray:
        """E x x^T, (G, K, K)."""
        return np.asarray(self.covariances() + outer(self.means, self.means))

    def covariances(self) -> np.ndarray:
        """E (x - E x)(x - E x)^T: what is lost where a bias makes up for the mean."""
        return np.asarray(self.apart / self.count)


def centred(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean, (G, K) float64, of columns (G, count, K), and what is left of them, float32.

    In two steps, so that float32 sums do: what is left of a first mean is small, and so is the error of its own.
    """
    first = _means(columns)
    left = columns - first[:, np.newaxis, :]
    second = _means(left)
    left -= second[:, np.newaxis, :]
    return first.astype(np.float64) + second, left


def _means(columns: np.ndarray) -> np.ndarray:
    share = np.full((1, columns.shape[1]), 1 / columns.shape[1], np.float32)
    return np.asarray((share @ columns)[:, 0])


def outer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(G, K) and (G, K) -> (G, K, K)."""
    return np.asarray(one[:, :, np.newaxis] * other[:, np.newaxis, :])


def as_held(array: np.ndarray, quantizer: Quantizer | None) -> np.ndarray:
    """What readers of the tensor see: its values as the quantiser's codes stand for, or as they are without one."""
    return array if quantizer is None else quantize_dequantize(array, quantizer)
