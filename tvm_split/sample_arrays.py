"""Arrays as a user gives them -> as the network reads them: one run after another, in the input's dtype; and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tvm_split.errors import DataError
from tvm_split.graph import Tensor


def as_runs(array: np.ndarray, tensor: Tensor, path: Path | str) -> np.ndarray:
    """The array as (N, *tensor.shape) in the tensor's dtype; DataError when shape, dtype or values do not fit."""
    shape, given = tensor.shape, array.shape
    if array.shape == shape:
        array = array[np.newaxis]
    elif shape[:1] == (1,) and array.ndim == len(shape) and array.shape[1:] == shape[1:]:
        array = array[:, np.newaxis]
    elif array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        rest = ", ".join(map(str, shape[1:] if shape[:1] == (1,) else shape))
        raise DataError(
            f"{path}: the array for input '{tensor.name}' has shape {array.shape} and dtype {array.dtype}; "
            f"expected {tensor.dtype} {shape}, or (N, {rest}) for N samples"
        )
    try:
        wanted = np.dtype(tensor.dtype)
        lossless = np.can_cast(array.dtype, wanted, "safe")
    except TypeError:
        raise DataError(f"{path}: NumPy has no dtype '{tensor.dtype}', which input '{tensor.name}' needs") from None
    if not lossless:
        raise DataError(
            f"{path}: the array for input '{tensor.name}', of shape {given}, is {array.dtype}; expected "
            f"{tensor.dtype}, and not every {array.dtype} is one. Convert it: array.astype('{tensor.dtype}')"
        )
    bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind == "f" else np.empty((0, 1), int)
    if len(bad):
        raise DataError(
            f"{path}: the array for input '{tensor.name}' has {len(bad)} values of {array.size} that are NaN or "
            f"infinite, the first in sample {bad[0, 0]}; expected finite ones"
        )
    return array.astype(wanted, copy=False)


#: the largest label: more classes no network has
MOST_CLASSES = 2**31 - 1


def as_labels(array: Any, count: int, path: Path | str) -> np.ndarray:
    """The classes of `count` samples, int64 (count,). DataError: no whole numbers from 0, or not as many."""
    try:
        labels = np.asarray(array)
    except ValueError as error:
        raise DataError(f"{path}: the labels are no array ({error}); expected {count} whole numbers from 0") from None
    whole = labels.dtype.kind in "iu" and labels.reshape(-1).shape == (count,)
    if not whole:
        raise DataError(
            f"{path}: the labels are {labels.dtype} {labels.shape}; expected {count} whole numbers from 0 to "
            f"{MOST_CLASSES}, the class of each sample"
        )
    labels = labels.reshape(-1)
    bad = np.flatnonzero((labels < 0) | (labels > MOST_CLASSES))
    if len(bad):
        raise DataError(
            f"{path}: the label of sample {bad[0]} is {labels[bad[0]]}; expected whole numbers from 0 to "
            f"{MOST_CLASSES}, the class of each sample"
        )
    return labels.astype(np.int64)
