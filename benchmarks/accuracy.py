"""Top-1 of a classifier on labelled pictures: in float32, and with integer weights and tensors, as halves compute them.

    python benchmarks/accuracy.py efficientnet-lite0 --images DIR [--preprocess NAME] [--scheme W8A8] [--json FILE]

DIR is any `--data` with labels, or a folder of pictures whose names begin with the number of their class. Every eighth
picture calibrates (--every); top-1 is that of all, and of those that did not calibrate ("held back").

    W8A8        the whole network on integers, weights rounded to the nearest code
    W4A8+       the same, each layer rounded in order, by what its output loses (calibration/sequential.py)
    onnxruntime its static quantiser on the same pictures, per channel, with uint8 activations

A half rounds to the nearest code. Widths below 8 are codes stored in int8.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import tvm

from tvm_split import data, frontend, pictures, pipeline, zoo
from tvm_split.bench import onnx_models
from tvm_split.calibration.gather import gather
from tvm_split.calibration.quantizers import held_choices
from tvm_split.calibration.rounded import rounded_weights
from tvm_split.errors import DataError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.layer_weights import layer_weights
from tvm_split.passes.preprocess import Preprocess
from tvm_split.passes.round_weights import RoundWeights
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.versions import versions

Batch = Mapping[str, np.ndarray]
Run = Callable[[Batch], np.ndarray]
SCHEMES = ("W8A8", "W4A8", "W4A8+")
FLOAT, ONNXRUNTIME = "float32", "onnxruntime W8A8"


def labelled(images: str, graph: Graph) -> tuple[list[Batch], np.ndarray]:
    """The pictures and their classes; from the file names where nothing else tells."""
    found = data.load_labelled(images, graph)
    if found.labels is not None:
        return list(found.batches), np.asarray(found.labels)
    files, _ = pictures.in_folder(Path(images))
    numbers = [re.match(r"[0-9]+", path.name) for path in files]
    if len(files) != len(found.batches) or not all(numbers):
        raise DataError(f"{images}: the pictures have no labels; give folders of classes, or names that begin with one")
    return list(found.batches), np.array([int(number[0]) for number in numbers if number])


def quantised(mod: tvm.IRModule, runner: LayerRunner, scheme: str, batches: Sequence[Batch]) -> tvm.IRModule:
    """The whole network with every weight and tensor at the scheme's widths, calibrated on these batches."""
    weights, tensors, in_order = re.fullmatch(r"W([2-8])A([2-8])(\+?)", scheme).groups()  # type: ignore[union-attr]
    graph = runner.graph
    names = [t.name for t in graph.tensors if t.dtype == "float32" and graph.readers[t.name]]
    statistics = gather(runner, names, batches)
    choices = held_choices(statistics, dict.fromkeys(names, int(tensors)), together(same_codes(mod).values()))
    held = {name: choice.quantizer for name, choice in choices.items()}
    bits = dict.fromkeys(layer_weights(mod), int(weights))
    if in_order:
        mod = RoundWeights(rounded_weights(mod, runner, batches, bits, held, statistics))(mod)
    marked = AnnotatePrecision(bits, held)(mod)
    return pipeline.quantized()(marked)


def classes(run: Run, batches: Sequence[Batch]) -> np.ndarray:
    return np.array([int(np.argmax(run(batch))) for batch in batches])


def of_module(mod: tvm.IRModule) -> Run:
    runner = LayerRunner(mod)
    (output, *_) = runner.graph.outputs
    return lambda batch: runner.run(batch, [output])[output]


def of_onnxruntime(path: Path, spec: PreprocessSpec | None, folder: Path, calibrating: Sequence[Batch]) -> Run:
    """onnxruntime's own int8 network, on what our preprocessing makes of a picture."""

    def prepared(batch: Batch) -> np.ndarray:
        (array,) = batch.values()
        if spec is None:
            return array
        order = slice(None, None, -1 if spec.channels.lower() == "bgr" else 1)
        real = (array[..., order] * np.float32(spec.scale) - np.float32(spec.mean)) / np.float32(spec.std)
        return np.ascontiguousarray(real if nhwc else real.transpose(0, 3, 1, 2), np.float32)

    shape = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    nhwc = shape[-1] == 3
    made = onnx_models.quantized(path, [[prepared(batch)] for batch in calibrating], folder)
    session = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: prepared(batch)})[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name of the zoo, or a file")
    parser.add_argument("--images", required=True)
    parser.add_argument("--preprocess")
    parser.add_argument("--scheme", action="append", help=f"W2A8 to W8A8, with + in order; by default {SCHEMES}")
    parser.add_argument("--every", type=int, default=8, help="one picture in so many calibrates")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    path = Path(asked.model) if Path(asked.model).is_file() else zoo.fetch(asked.model)
    preprocess = asked.preprocess or (
        None if Path(asked.model).is_file() else zoo.entry(asked.model).preprocess or None
    )
    spec = PreprocessSpec.named(preprocess) if preprocess else None
    mod = frontend.load(path)
    mod = pipeline.layers()(Preprocess(spec)(mod) if spec else mod)
    runner = LayerRunner(mod)
    batches, labels = labelled(asked.images, runner.graph)
    calibrating, back = batches[:: asked.every], np.arange(len(batches)) % asked.every != 0
    rows = []

    def add(name: str, run: Run, began: float) -> None:
        right = classes(run, batches) == labels
        rows.append({"scheme": name, "top1": right.mean(), "held_back": right[back].mean(),
                     "seconds": time.monotonic() - began})  # fmt: skip
        print(
            f"{name:20}{rows[-1]['top1']:>8.3f}{rows[-1]['held_back']:>12.3f}{rows[-1]['seconds']:>8.0f} s", flush=True
        )

    print(f"{len(batches)} pictures, {len(calibrating)} calibrate\n{'':20}{'top-1':>8}{'held back':>12}", flush=True)
    (output, *_) = runner.graph.outputs
    add(FLOAT, lambda batch: runner.run(batch, [output])[output], time.monotonic())
    for scheme in asked.scheme or SCHEMES:
        began = time.monotonic()
        add(scheme, of_module(quantised(mod, runner, scheme, calibrating)), began)
    if path.suffix == ".onnx":
        with tempfile.TemporaryDirectory() as folder:
            add(ONNXRUNTIME, of_onnxruntime(path, spec, Path(folder), calibrating), time.monotonic())
    if asked.json:
        found = {"benchmark": "accuracy", "model": asked.model, "pictures": len(batches), "versions": versions()}
        asked.json.write_text(json.dumps({**found, "calibrating": len(calibrating), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
