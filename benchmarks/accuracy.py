"""Top-1 of a classifier on labelled pictures: in float32, with integer weights and tensors as halves compute them, and
quantised by onnxruntime and by NNCF, all calibrated on the same pictures.

    python benchmarks/accuracy.py efficientnet-lite0 --images DIR [--preprocess NAME] [--scheme W8A8] [--json FILE]
    python benchmarks/accuracy.py F/fashion-mnist.onnx --images F/fashion-mnist-test.npz \\
        --calibrate F/fashion-mnist-train.npz               (made by benchmarks/train_fashion_mnist.py F)

DIR is any `--data` with labels, or a folder of pictures whose names begin with the number of their class. Every eighth
picture calibrates (--every), or those of --calibrate do; top-1 is that of all, and of those that did not calibrate
("held back"). On these, "lost" is the mean Kullback-Leibler divergence of the scores from float32's, in nats: it tells
schemes apart that the top-1 of a few hundred pictures does not. The schemes are those of benchmarks/schemes.py;
--pictures N takes N of the pictures, evenly.

NNCF is no part of the installation: pip install nncf.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from rivals import Rivals
from schemes import Batch, Quantiser, Scheme

from tvm_split import data, frontend, pictures, pipeline, zoo
from tvm_split.calibration.output_error import divergence
from tvm_split.errors import DataError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.preprocess import Preprocess
from tvm_split.versions import versions

Run = Callable[[Batch], np.ndarray]
SCHEMES = ("W8A8", "W4A8", "W4A8+", "mixed-4", "mixed-4+")


def labelled(images: str, graph: Graph) -> tuple[list[Batch], np.ndarray]:
    """The pictures and their classes; from the file names where nothing else tells."""
    found = data.load_labelled(images, graph)
    if found.labels is not None:
        return list(found.batches), np.asarray(found.labels)
    files = pictures.in_folder(Path(images))[0] if Path(images).is_dir() else []
    numbers = [re.match(r"[0-9]+", path.name) for path in files]
    if len(files) != len(found.batches) or not all(numbers):
        raise DataError(f"{images}: the pictures have no labels; give folders of classes, or names that begin with one")
    return list(found.batches), np.array([int(number[0]) for number in numbers if number])


def evenly(batches: list[Batch], labels: np.ndarray, count: int | None) -> tuple[list[Batch], np.ndarray]:
    """So many of the pictures, taken evenly from all; all of them without a number, or where there are fewer."""
    if count is None or count >= len(batches):
        return batches, labels
    taken = np.arange(count) * len(batches) // count
    return [batches[i] for i in taken], labels[taken]


def split(calibrate: str | None, every: int, batches: list[Batch], graph: Graph) -> tuple[list[Batch], np.ndarray]:
    """The pictures that calibrate, those of `calibrate` or one in `every`; which of `batches` do not, or DataError."""
    if calibrate:
        return list(data.load_batches(calibrate, graph)), np.full(len(batches), True)
    back = np.arange(len(batches)) % every != 0
    if not back.any():
        raise DataError(
            f"{len(batches)} pictures, one in {every} of which calibrates, leave none to measure on; give more "
            "pictures, --every 2 or more, or others to calibrate on (--calibrate)"
        )
    return batches[::every], back


def network(model: str, preprocess: str | None) -> tuple[Path, PreprocessSpec | None, tvm.IRModule]:
    """Of a name of the zoo or a file: the file, what pictures go through first, and the layers, which begin with it."""
    is_file = Path(model).is_file()
    path = Path(model) if is_file else zoo.fetch(model)
    name = preprocess or (None if is_file else zoo.entry(model).preprocess or None)
    spec = PreprocessSpec.named(name) if name else None
    mod = frontend.load(path)
    return path, spec, pipeline.layers()(Preprocess(spec)(mod) if spec else mod)


def of_module(runner: LayerRunner) -> Run:
    (output, *_) = runner.graph.outputs
    return lambda batch: runner.run(batch, [output])[output]


class Rows:
    """What is measured, printed as it is found. back: which pictures did not calibrate."""

    def __init__(self, batches: Sequence[Batch], labels: np.ndarray, back: np.ndarray) -> None:
        self._batches, self._labels, self._back = batches, labels, back
        self._wanted: list[np.ndarray] = []
        self.rows: list[dict[str, Any]] = []
        print(f"{'':20}{'top-1':>8}{'held back':>12}{'lost':>9}{'bits':>7}", flush=True)

    def add(self, name: str, run: Run, began: float, bits: float | None = None) -> None:
        """The first row is what others are held against."""
        scores = [np.asarray(run(batch), np.float64).reshape(-1) for batch in self._batches]
        self._wanted = self._wanted or scores
        right = np.array([int(np.argmax(each)) for each in scores]) == self._labels
        lost = np.array([divergence(*pair) for pair in zip(self._wanted, scores, strict=True)])
        row = {
            "scheme": name,
            "top1": float(right.mean()),
            "held_back": float(right[self._back].mean()),
            "lost": float(lost[self._back].mean()),
            "weight_bits": bits,
            "seconds": time.monotonic() - began,
        }
        self.rows.append(row)
        figures = f"{row['top1']:>8.4f}{row['held_back']:>12.4f}{row['lost']:>9.4f}"
        shown = "" if bits is None else f"{bits:.2f}"
        print(f"{name:20}{figures}{shown:>7}{row['seconds']:>8.0f} s", flush=True)


def add_rivals(rows: Rows, rivals: Rivals) -> None:
    began = time.monotonic()
    rows.add("onnxruntime W8A8", rivals.onnxruntime(), began)
    try:
        installed = version("nncf")
    except PackageNotFoundError:
        print("NNCF W8A8: not measured, nncf is not installed; pip install nncf", flush=True)
        return
    began = time.monotonic()
    rows.add(f"NNCF {installed} W8A8", rivals.nncf(), began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name of the zoo, or a file")
    parser.add_argument("--images", required=True)
    parser.add_argument("--calibrate", help="other pictures, to calibrate on")
    parser.add_argument("--pictures", type=int, metavar="N")
    parser.add_argument("--preprocess")
    parser.add_argument("--scheme", action="append", help=f"see benchmarks/schemes.py; by default {', '.join(SCHEMES)}")
    parser.add_argument("--every", type=int, default=8, help="one picture in so many calibrates")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    schemes = [Scheme.named(name) for name in asked.scheme or SCHEMES]
    path, spec, mod = network(asked.model, asked.preprocess)
    runner = LayerRunner(mod)
    batches, labels = evenly(*labelled(asked.images, runner.graph), asked.pictures)
    calibrating, back = split(asked.calibrate, asked.every, batches, runner.graph)
    print(f"{len(batches)} pictures, {len(calibrating)} calibrate", flush=True)
    rows = Rows(batches, labels, back)
    rows.add("float32", of_module(runner), time.monotonic())
    quantiser = Quantiser(mod, runner, calibrating)
    for scheme in schemes:
        began = time.monotonic()
        found = quantiser.quantised(scheme)
        rows.add(scheme.name, of_module(LayerRunner(found.mod)), began, found.average)
    if path.suffix == ".onnx":
        with tempfile.TemporaryDirectory() as folder:
            add_rivals(rows, Rivals(path, spec, Path(folder), calibrating))
    if asked.json:
        model = Path(asked.model).name
        found = {"benchmark": "accuracy", "model": model, "pictures": len(batches), "versions": versions()}
        asked.json.write_text(
            json.dumps({**found, "calibrating": len(calibrating), "rows": rows.rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
