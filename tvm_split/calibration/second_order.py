"""Codes of weights that cost a layer's output least, not each weight: rounding by second-order error. Pure NumPy.

What rounding W to Wq costs the output, over the inputs x of the layer, is a quadratic form:

    E |(W - Wq) x|^2 = tr((W - Wq) H (W - Wq)^T),   H = E x x^T

Column after column is rounded, and what that loses is given to the columns that are not rounded yet: the best that they
can do about it, by the inverse of H. E. Frantar, S. Singh, D. Alistarh, "Optimal Brain Compression", NeurIPS 2022,
section 5; E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ", ICLR 2023, section 3 (any order of the columns for
all rows; blocks of columns; the inverse by its Cholesky factor). Then each code is set to the best one, given all
others, until none changes: the error only falls.

Where the layer's bias takes up the mean of what is lost, H is the covariance of x instead.

Codes are searched for in float32 and in steps of their scale, what they lose is compared in float64.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dtrtri

from tvm_split.calibration.weights import quantize_weights
from tvm_split.errors import PlanError

#: columns whose updates wait for each other; those of the others are one matrix product
BLOCK = 64
#: share of the mean diagonal of H that is added to it: few inputs tell too much about each other
DAMPING = 0.01
#: shares of the scale of least squared error of the weights that are tried
SHARES = (1.0, 0.96, 0.92, 0.86, 0.8, 0.7)
#: rounds over all codes, one at a time
SWEEPS = 4
#: times that codes and scales are improved in turns
REFITS = 2


def damped(products: np.ndarray, share: float = DAMPING) -> np.ndarray:
    """H made positive definite: `share` of the mean of its diagonal is added. An H of zeros becomes the identity.

    products: (G, K, K), a sum or mean of x x^T for each group. An input that is always 0 is rounded to the nearest.
    """
    mean = np.trace(products, axis1=1, axis2=2) / max(products.shape[1], 1)
    added = np.where(mean > 0, mean * share, 1.0)
    return np.asarray(products + added[:, np.newaxis, np.newaxis] * np.eye(products.shape[1]))


def second_order(rows: np.ndarray, bits: int, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (int8, the shape of `rows`) and scales (float32, (G, O)) of all channels, each with the scale found best.

    rows: (G, O, K), the float weights of the O outputs of each of G groups. products: H, (G, K, K), positive definite
    (`damped`). No channel loses more than with the codes of `quantize_weights`, in (w - wq) H (w - wq)^T. Those that
    are not these codes use the largest code, so that `quantize_weights` finds codes and scales again from codes *
    scales. PlanError as there, or when H is not positive definite.
    """
    groups, outputs, width = rows.shape
    codes, scales = quantize_weights(rows.reshape(-1, width), 0, bits)
    columns, start = _columns(rows), scales.reshape(groups, outputs).astype(np.float64)
    best, best_scales = _columns(codes.reshape(rows.shape)), start
    least, chain, single = _lost(columns, best, start, products), _chain(products), products.astype(np.float32)

    def keep(found: np.ndarray, tried: np.ndarray) -> None:
        nonlocal best, best_scales, least
        fitted, loss = _fitted(columns, found, tried, products)
        better = (loss < least) & (np.abs(found).max(axis=1, initial=0) == _top(bits))
        best = np.where(better[:, np.newaxis, :], found, best)
        best_scales, least = np.where(better, fitted, best_scales), np.where(better, loss, least)

    tried = np.concatenate([start * share for share in SHARES], axis=1)  # all at once: most of the time is steps
    tiled = _by_columns(_in_steps(np.tile(columns, len(SHARES)), tried), bits, chain)
    for number, share in enumerate(SHARES):
        keep(tiled[:, :, number * outputs : (number + 1) * outputs], start * share)
    for _ in range(REFITS):
        keep(_each_best(_in_steps(columns, best_scales), best.astype(np.float32), bits, single), best_scales)
    return np.ascontiguousarray(best.swapaxes(1, 2)).astype(np.int8), best_scales.astype(np.float32)


def _columns(rows: np.ndarray) -> np.ndarray:
    """(G, K, O): what is rounded together lies together."""
    return np.ascontiguousarray(rows.swapaxes(1, 2), np.float64)


def _in_steps(columns: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The weights in steps of their channel's scale, float32."""
    return np.asarray(columns / scales[:, np.newaxis, :], np.float32)


def _lost(columns: np.ndarray, codes: np.ndarray, scales: np.ndarray, products: np.ndarray) -> np.ndarray:
    """(w - wq) H (w - wq)^T of each channel, (G, O)."""
    off = columns - codes * scales[:, np.newaxis, :]
    return np.asarray(np.einsum("gko,gko->go", products @ off, off))


def _top(bits: int) -> np.float32:
    return np.float32(2 ** (bits - 1) - 1)


def _nearest(values: np.ndarray, top: np.float32) -> np.ndarray:
    found = np.rint(values)
    np.minimum(found, top, out=found)
    return np.asarray(np.maximum(found, -top, out=found))


def _chain(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of the columns, and U of inverse(H) = U^T U in it: largest inputs first, while others can make up.

    Of H = V V^T with V upper triangular, which is the Cholesky factor of H backwards, U is the inverse of V.
    """
    order = np.argsort(-np.diagonal(products, axis1=1, axis2=2), axis=1, kind="stable")
    half = np.take_along_axis(products, order[:, :, np.newaxis], axis=1)
    whole = np.take_along_axis(half, order[:, np.newaxis, :], axis=2)
    try:
        backwards = np.linalg.cholesky(whole[:, ::-1, ::-1])
    except np.linalg.LinAlgError:
        raise PlanError("the products of a layer's inputs are not positive definite; dampen them more") from None
    factors = np.stack([dtrtri(each[::-1, ::-1])[0] for each in backwards])
    return order, factors.astype(np.float32)


def _by_columns(steps: np.ndarray, bits: int, chain: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Codes of weights in steps, column after column; those after it make up for what each loses."""
    order, factor = chain
    work = np.take_along_axis(steps, order[:, :, np.newaxis], axis=1)
    codes, width, top = np.empty_like(work), work.shape[1], _top(bits)
    for begin in range(0, width, BLOCK):
        end = min(begin + BLOCK, width)
        off = np.empty_like(work[:, begin:end])
        for j in range(begin, end):
            codes[:, j] = _nearest(work[:, j], top)
            lost = off[:, j - begin]
            np.subtract(work[:, j], codes[:, j], out=lost)
            lost /= factor[:, j, j, np.newaxis]
            work[:, j + 1 : end] -= factor[:, j, j + 1 : end, np.newaxis] * lost[:, np.newaxis]
        work[:, end:] -= factor[:, begin:end, end:].swapaxes(1, 2) @ off
    found = np.empty_like(codes)
    np.put_along_axis(found, np.broadcast_to(order[:, :, np.newaxis], codes.shape), codes, axis=1)
    return found


def _each_best(steps: np.ndarray, codes: np.ndarray, bits: int, products: np.ndarray) -> np.ndarray:
    """Set each code to the best one given the others, in turns; `pull` is H (w - wq), in steps. All float32."""
    codes, width, top = codes.copy(), codes.shape[1], _top(bits)
    pull = products @ (steps - codes)
    weight = np.diagonal(products, axis1=1, axis2=2)
    for _ in range(SWEEPS):
        changed = False
        for begin in range(0, width, BLOCK):
            end = min(begin + BLOCK, width)
            here, moved = pull[:, begin:end], np.zeros_like(pull[:, begin:end])
            for j in range(begin, end):
                new = _nearest(codes[:, j] + pull[:, j] / weight[:, j, np.newaxis], top)
                step = new - codes[:, j]
                if step.any():
                    here -= products[:, begin:end, j, np.newaxis] * step[:, np.newaxis]
                    moved[:, j - begin], codes[:, j], changed = step, new, True
            if moved.any():
                pull[:, :begin] -= products[:, :begin, begin:end] @ moved
                pull[:, end:] -= products[:, end:, begin:end] @ moved
        if not changed:
            break
    return codes


def _fitted(
    columns: np.ndarray, codes: np.ndarray, scales: np.ndarray, products: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The scales that lose least with these codes, as float32 holds them, where they are positive normal numbers;
    and what is lost with them."""
    through = products @ codes
    square = np.einsum("gko,gko->go", through, codes)
    fitted = np.einsum("gko,gko->go", through, columns) / np.where(square > 0, square, 1)
    tiny = float(np.finfo(np.float32).tiny)
    found = np.where((square > 0) & (fitted >= tiny), fitted, scales).astype(np.float32).astype(np.float64)
    return found, _lost(columns, codes, found, products)
