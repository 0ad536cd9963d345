"""A payload as it is on the wire: its bytes as the edge half made them, or coded as the plan says (JPEG). No TVM."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_split import jpeg
from tvm_split.bundle import Bundle
from tvm_split.errors import BundleError


def encode_payload(bundle: Bundle, payload: np.ndarray) -> bytes:
    """Bytes to send of a payload, uint8[payload_bytes]."""
    codec = _codec(bundle)
    if codec is None:
        return payload.tobytes()
    return jpeg.encode(payload.reshape(codec["shape"]), codec["quality"])


def decode_payload(bundle: Bundle, data: bytes | bytearray) -> np.ndarray:
    """The payload, uint8[payload_bytes], that the cloud half reads. BundleError when `data` is not what was sent."""
    codec = _codec(bundle)
    return np.frombuffer(data, np.uint8) if codec is None else jpeg.decode(data, codec["shape"]).reshape(-1)


def payload_lengths(bundle: Bundle) -> int | range:
    """How many bytes of payload may come."""
    codec = _codec(bundle)
    return bundle.payload_bytes if codec is None else range(1, jpeg.most_bytes(codec["shape"]) + 1)


def _codec(bundle: Bundle) -> dict[str, Any] | None:
    codec = bundle.codec
    if codec is not None and codec["name"] != "jpeg":
        raise BundleError(f"{bundle.path} codes its payload by {codec['name']!r}; this tvm-split knows 'jpeg' only")
    return None if codec is None else dict(codec)
