"""What a crossing tensor's width costs: bits -> bytes -> top-1, for cuts spread over a classifier.

    python benchmarks/crossing.py efficientnet-lite0 --images DIR [--cuts 5] [--at LAYER ...] [--json FILE]

The cuts are those that one tensor crosses, the result of an activation of the ReLU family; without --at as many as
--cuts, evenly over the network. Every eighth picture calibrates (--every), or those of --calibrate do; top-1 is that of
all pictures, and of those that did not calibrate ("held back"). The range is that of least error on the calibration's
histograms, as `compile` chooses it, and beside it that from the lowest to the highest value. All layers compute in
float32, so nothing else is lost.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from accuracy import evenly, labelled, network, split
from schemes import Batch

from tvm_split.calibration.gather import gather
from tvm_split.calibration.ranges import best_range, range_by
from tvm_split.errors import PlanError
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_cuts import prefixes
from tvm_split.passes.bindings import operator
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.quantizer import Quantizer, quantize_dequantize
from tvm_split.versions import versions

WIDTHS = (1, 2, 3, 4, 6, 8, 16)
RELUS = ("relax.nn.relu", "relax.clip")


def activated(mod: tvm.IRModule) -> set[str]:
    """Layers whose last operator is a ReLU: 0 and what is above it, to a bound or without."""
    return {
        str(callee.attrs[LAYER])
        for _, callee in layer_calls(mod)
        if operator(callee.body.blocks[-1].bindings[-1].value) in RELUS
    }


def cuts(graph: Graph, after: set[str]) -> dict[str, str]:
    """Layer after which to cut -> the one tensor that crosses, made by one of the layers `after`."""
    found = {}
    for cut in prefixes(graph):
        producers = [graph.producer[name] for name in cut["crossing"]]
        if len(producers) == 1 and producers[0] in after:
            found[producers[0]] = cut["crossing"][0]
    return found


def spread(names: Sequence[str], count: int) -> list[str]:
    """At most so many of the names, the first and the last among them, the others evenly between."""
    if len(names) <= count:
        return list(names)
    return [names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count)]


class Trial:
    """One tensor through one quantiser: which of the pictures are right."""

    def __init__(self, tensor: str, quantizer: Quantizer) -> None:
        self.tensor, self.quantizer, self.right = tensor, quantizer, list[bool]()

    def add(self, runner: LayerRunner, value: np.ndarray, label: int) -> None:
        (output, *_) = runner.graph.outputs
        known = {self.tensor: quantize_dequantize(value, self.quantizer)}
        self.right.append(bool(np.argmax(runner.run(known, [output])[output]) == label))


def top1(right: Sequence[bool], back: np.ndarray, suffix: str = "") -> dict[str, float]:
    """Share of all pictures that are right, and of those held back."""
    found = np.array(right, bool)
    return {f"top1{suffix}": float(found.mean()), f"held_back{suffix}": float(found[back].mean())}


def measured(
    runner: LayerRunner, tensors: Sequence[str], calibrating: Sequence[Batch], batches: Sequence[Batch],
    labels: np.ndarray, back: np.ndarray,
) -> tuple[dict[str, float], list[dict[str, Any]]]:  # fmt: skip
    """Top-1 in float32, and a row for each tensor and width. back: which pictures did not calibrate."""
    graph, statistics = runner.graph, gather(runner, tensors, calibrating)
    chosen = {(name, bits): best_range(statistics[name], bits) for name in tensors for bits in WIDTHS}
    plain = {key: range_by("min-max", statistics[key[0]], key[1]) for key in chosen}
    trials: dict[tuple[str, Quantizer], Trial] = {}
    for (name, _), choice in [*chosen.items(), *plain.items()]:
        trials.setdefault((name, choice.quantizer), Trial(name, choice.quantizer))
    (output, *_) = graph.outputs
    right: list[bool] = []
    for number, (batch, label) in enumerate(zip(batches, labels, strict=True)):
        made = runner.run(batch, [*tensors, output])
        right.append(bool(np.argmax(made[output]) == label))
        for trial in trials.values():
            trial.add(runner, made[trial.tensor], int(label))
        if number % 50 == 49:
            print(f"{number + 1} of {len(batches)} pictures", flush=True)
    rows = []
    for (name, bits), choice in chosen.items():
        size = -(-graph.tensor[name].elements * bits // 8)
        row = {"tensor": name, "bits": bits, "bytes": size, "method": choice.method}
        row |= top1(trials[name, choice.quantizer].right, back)
        rows.append(row | top1(trials[name, plain[name, bits].quantizer].right, back, "_min_max"))
    return top1(right, back), rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a name of the zoo, or a file")
    parser.add_argument("--images", required=True)
    parser.add_argument("--calibrate", help="other pictures, to calibrate on")
    parser.add_argument("--pictures", type=int, metavar="N", help="so many of the pictures, evenly")
    parser.add_argument("--preprocess")
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--at", action="append", metavar="LAYER")
    parser.add_argument("--every", type=int, default=8, help="one picture in so many calibrates")
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    began = time.monotonic()
    _, _, mod = network(asked.model, asked.preprocess)
    runner = LayerRunner(mod)
    found = cuts(runner.graph, activated(mod))
    wanted = asked.at or spread(list(found), asked.cuts)
    if not wanted or not found.keys() >= set(wanted):
        raise PlanError(f"{wanted} are no cuts after an activation; there are {', '.join(found) or 'none'}")
    batches, labels = evenly(*labelled(asked.images, runner.graph), asked.pictures)
    calibrating, back = split(asked.calibrate, asked.every, batches, runner.graph)
    float32, rows = measured(runner, [found[name] for name in wanted], calibrating, batches, labels, back)
    print(f"{len(batches)} pictures, {len(calibrating)} calibrate; top-1 of float32 {float32['top1']:.4f}, held back "
          f"{float32['held_back']:.4f}")  # fmt: skip
    print(f"{'':42}{'least error':>20}{'min-max':>20}\n{'tensor':28}{'bits':>5}{'bytes':>9}"
          + 2 * f"{'top-1':>9}{'held back':>11}" + "  range")  # fmt: skip
    for row in rows:
        figures = (f"{row[f'top1{of}']:>9.4f}{row[f'held_back{of}']:>11.4f}" for of in ("", "_min_max"))
        print(f"{row['tensor']:28}{row['bits']:>5}{row['bytes']:>9}{''.join(figures)}  {row['method']}")
    if asked.json:
        about = {"benchmark": "crossing", "model": Path(asked.model).name, "pictures": len(batches)}
        about |= {"calibrating": len(calibrating), "versions": versions(), "float32": float32["top1"],
                  "float32_held_back": float32["held_back"], "rows": rows}  # fmt: skip
        asked.json.write_text(json.dumps({**about, "seconds": time.monotonic() - began}, indent=1) + "\n")


if __name__ == "__main__":
    main()
