"""Read a payload in NumPy: what the cloud half's unpack kernels do, for comparing and for other hosts.

Tensors lie one after the other, each from its `offset`. An element of b bits takes bits [i*b, (i+1)*b) of its tensor,
counted from the least significant bit of the first byte; 16 bits and more are little-endian.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tvm_split.errors import BundleError

FIELDS = ("tensor", "shape", "dtype", "bits", "offset", "size_bytes", "scale", "zero_point")
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64)


def unpack(payload: np.ndarray, part: Mapping[str, Any]) -> np.ndarray:
    """One tensor as it was packed, in the part's dtype and shape: codes when it was quantised, values when not.

    payload: uint8[payload_bytes]. BundleError when the part contradicts itself or lies outside the payload.
    """
    missing = [field for field in FIELDS if field not in part]
    if missing:
        raise BundleError(
            f"payload part {part.get('tensor', '?')!r} has no field '{missing[0]}'; compile the bundle again"
        )
    name, bits, shape = part["tensor"], int(part["bits"]), tuple(int(extent) for extent in part["shape"])
    offset, size, count = int(part["offset"]), int(part["size_bytes"]), math.prod(shape)
    if bits not in WIDTHS:
        raise BundleError(f"payload part '{name}' has {bits} bits; the widths are {', '.join(map(str, WIDTHS))}")
    if size != -(-count * bits // 8):
        raise BundleError(
            f"payload part '{name}' of {count} elements of {bits} bits has {size} bytes; "
            f"expected {-(-count * bits // 8)}"
        )
    if payload.dtype != np.uint8 or payload.ndim != 1 or offset < 0 or offset + size > payload.size:
        raise BundleError(
            f"payload part '{name}' is bytes {offset} to {offset + size}, "
            f"the payload is {payload.dtype}{list(payload.shape)}"
        )
    dtype, data = np.dtype(part["dtype"]), payload[offset : offset + size]
    if bits < 8:
        each = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
        return np.packbits(each, axis=1, bitorder="little").reshape(shape).astype(dtype)
    if dtype.itemsize * 8 == bits:
        return np.frombuffer(data.tobytes(), dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    return np.frombuffer(data.tobytes(), f"<u{bits // 8}").astype(dtype).reshape(shape)


def check_layout(parts: Sequence[Mapping[str, Any]], payload_bytes: int) -> None:
    """BundleError unless the parts fill the payload, in order, without holes."""
    end = 0
    for part in parts:
        if part["offset"] != end:
            raise BundleError(f"payload part '{part['tensor']}' begins at byte {part['offset']}; expected {end}")
        end += part["size_bytes"]
    if end != payload_bytes:
        raise BundleError(f"the payload's parts fill {end} bytes, the bundle says {payload_bytes}; compile it again")
