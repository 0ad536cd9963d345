"""What cloud-only costs when the frame is sent as JPEG: the rival that splits must beat."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from tvm_split.plan.problem import Candidate, Crossing, Problem

#: Pillow's scale; 90 keeps classifiers' answers nearly always
QUALITY = 90


def jpeg_bytes(frame: np.ndarray, quality: int = QUALITY) -> int:
    """Bytes of an (H, W, 3) uint8 frame coded as baseline JPEG with 4:2:0 chroma, Pillow's default."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return buffer.tell()


def jpeg_candidate(problem: Problem, raw: Candidate, batches: Sequence[Mapping[str, Any]]) -> Candidate | None:
    """Cloud-only with the median JPEG size of the given frames; None unless the only input is (1, H, W, 3) uint8.

    Coding and decoding time is not counted, which favours JPEG over a split.
    """
    graph = problem.graph
    if len(graph.inputs) != 1:
        return None
    frame = graph.tensor[graph.inputs[0]]
    if frame.dtype != "uint8" or len(frame.shape) != 4 or frame.shape[0] != 1 or frame.shape[3] != 3 or not batches:
        return None
    size = int(median(jpeg_bytes(np.asarray(batch[frame.name])[0]) for batch in batches))
    timing = replace(raw.predicted, uplink_s=problem.link.up_s(size))
    crossing = (Crossing(frame.name, frame.shape, 8, size),)
    return replace(raw, crossing=crossing, predicted=timing, edge_memory_bytes=frame.size_bytes + size)
