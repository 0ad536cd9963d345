"""Others' quantisers of a classifier, on what our preprocessing makes of a picture; onnxruntime runs their networks.

onnxruntime's static quantiser comes with it; NNCF is not installed with the project (`pip install nncf` does it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tvm_split.bench import onnx_models
from tvm_split.frontend.onnx_fold import modern
from tvm_split.frontend.preprocess_spec import PreprocessSpec

Batch = Mapping[str, np.ndarray]
Run = Callable[[Batch], np.ndarray]


class Rivals:
    """The float network's file, what its pictures go through, and those that calibrate."""

    def __init__(self, path: Path, spec: PreprocessSpec | None, folder: Path, calibrating: Sequence[Batch]) -> None:
        self._path, self._spec, self._folder, self._calibrating = path, spec, folder, calibrating
        (value, *_) = _session(path).get_inputs()
        self._input, self._channels_last = value.name, value.shape[-1] == 3

    def onnxruntime(self) -> Run:
        """Its static quantiser: weights per channel, uint8 tensors, ranges from the lowest and highest values."""
        samples = [[self._prepared(batch)] for batch in self._calibrating]
        return self._run(onnx_models.quantized(self._path, samples, self._folder))

    def nncf(self) -> Run:
        """Its post-training quantisation as it is by default. ImportError where it is not installed."""
        import nncf

        nncf.set_log_level(logging.ERROR)
        given = nncf.Dataset([{self._input: self._prepared(batch)} for batch in self._calibrating])
        model = modern(onnx.load(self._path), str(self._path))
        made = self._folder / "nncf.onnx"
        onnx.save(nncf.quantize(model, given, subset_size=len(self._calibrating)), made)
        return self._run(made)

    def _run(self, path: Path) -> Run:
        session = _session(path)
        return lambda batch: session.run(None, {self._input: self._prepared(batch)})[0]

    def _prepared(self, batch: Batch) -> np.ndarray:
        (array,) = batch.values()
        if self._spec is None:
            return array
        order = slice(None, None, -1 if self._spec.channels.lower() == "bgr" else 1)
        mean, std = np.float32(self._spec.mean), np.float32(self._spec.std)
        real = (array[..., order] * np.float32(self._spec.scale) - mean) / std
        return np.ascontiguousarray(real if self._channels_last else real.transpose(0, 3, 1, 2), np.float32)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
