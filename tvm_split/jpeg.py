"""Cloud-only with the frame sent as JPEG: the rival that splits must beat."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from tvm_split.errors import BundleError
from tvm_split.plan.problem import Candidate, Crossing, Problem

#: Pillow's scale; 90 keeps classifiers' answers nearly always
QUALITY = 90


def encode(frame: np.ndarray, quality: int = QUALITY) -> bytes:
    """A frame, uint8 (H, W, 3) or (1, H, W, 3), as baseline JPEG with 4:2:0 chroma, Pillow's default."""
    buffer = io.BytesIO()
    Image.fromarray(frame.reshape(frame.shape[-3:])).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def decode(data: bytes | bytearray, shape: Sequence[int]) -> np.ndarray:
    """The frame, uint8 of `shape`, that `encode` made `data` from. BundleError when it is no JPEG of that size."""
    height, width = shape[-3:-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is compared below
            picture = Image.open(io.BytesIO(data), formats=["JPEG"])
        with picture:
            if picture.size != (width, height):  # before anything is decoded
                raise BundleError(f"the frame came as a JPEG of {picture.size}; expected {(width, height)}")
            return np.asarray(picture.convert("RGB")).reshape(shape)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{len(data)} bytes that should be a JPEG of {width} x {height} are none: {error}") from error


def most_bytes(shape: Sequence[int]) -> int:
    """More than any JPEG of such a frame takes: noise at quality 100 is about its raw size, and headers are small."""
    return 2 * math.prod(shape) + 65536


def jpeg_candidate(problem: Problem, raw: Candidate, batches: Sequence[Mapping[str, Any]]) -> Candidate | None:
    """Cloud-only with the median JPEG size of the given frames; None unless the only input is (1, H, W, 3) uint8.

    Coding and decoding time is not counted, which favours JPEG over a split.
    """
    graph = problem.graph
    if len(graph.inputs) != 1 or not raw.crossing:
        return None
    frame = graph.tensor[graph.inputs[0]]
    if frame.dtype != "uint8" or len(frame.shape) != 4 or frame.shape[0] != 1 or frame.shape[3] != 3 or not batches:
        return None
    size = int(median(len(encode(np.asarray(batch[frame.name]))) for batch in batches))
    timing = replace(raw.predicted, uplink_s=problem.link.up_s(size))
    crossing = (Crossing(frame.name, frame.shape, 8, size, "jpeg"),)
    return replace(raw, crossing=crossing, predicted=timing, edge_memory_bytes=frame.size_bytes + size)
