"""Which distortion ranks layers better: that of weights and tensors themselves, or that of the network's outputs.

    python benchmarks/distortion.py --images DIR [--network NAME] [--assignments 30] [--json FILE]

Each measure is taken over the calibrating samples, for every layer's weights and every tensor at every width. Then
random assignments of widths to all of them are run on other samples, and the sum of an assignment's distortions is
correlated with what it really does: to the KL divergence of the scores and to agreement with the float network, or
without scores to the error of the outputs. Last, weights get the widths of least summed distortion within an average of
so many bits (an integer programme), beside the same width for all; tensors have 8 bits then.

    paper           Auto-Split's D_i (KDD 2021, 5b): mean squared error of the weights, of the tensor
    paper, total    the same times the elements: squared error, not its mean
    output mse      relative squared error of the outputs when that one alone is quantised
    output kl       KL divergence of the scores likewise
    agreement       share of samples lost likewise

Weights and tensors are quantised and dequantised in floats, with each layer's own kernels: integer kernels differ from
that by rounding. Top-1 is shown where DIR's photographs are named after their class; magika reads Python's library.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from average_bits import bits_for_average
from library_files import library_files
from mixed_network import MixedNetwork, Widths
from scipy.stats import kendalltau, spearmanr

from tvm_split import data, frontend, pictures, pipeline, zoo
from tvm_split.calibration.distortion import Table, activation_choices, activation_distortions, weight_distortions
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.calibration.output_distortion import digest
from tvm_split.calibration.output_error import OutputError
from tvm_split.calibration.output_network import SAMPLES, output_table, records_of
from tvm_split.calibration.output_table import OutputTable
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.metrics import class_count
from tvm_split.passes.preprocess import Preprocess
from tvm_split.versions import versions

Batch = Mapping[str, np.ndarray]
NETWORKS = ("efficientnet-lite0", "magika", "ppocr-det")
WEIGHT_WIDTHS, TENSOR_WIDTHS = (3, 4, 6, 8), (4, 6, 8)
#: bits of a weight when their widths are allocated, on the average, and of tensors then
AVERAGE, HELD = 4, 8


@dataclass
class Subject:
    """A network, the samples that calibrated it, and others, with their classes where these are known."""

    network: MixedNetwork
    calibrated: Calibrated
    calibrating: list[Batch]
    back: list[Batch]
    labels: np.ndarray | None

    @property
    def graph(self) -> Graph:
        return self.network.runner.graph

    @cached_property
    def floats(self) -> list[list[np.ndarray]]:
        """The float network's outputs for each of the samples that are held back."""
        return [list(self.network.runner.run(batch, self.graph.outputs).values()) for batch in self.back]

    def error(self, weights: Widths, tensors: Widths) -> tuple[OutputError, float | None]:
        """What the widths do to the samples held back, and top-1 where these have labels."""
        scores = class_count(self.graph) is not None
        got = [self.network.outputs(batch, weights, tensors) for batch in self.back]
        first, *others = (OutputError.of(*pair, scores) for pair in zip(self.floats, got, strict=True))
        right = None if self.labels is None else np.mean([np.argmax(each[0]) for each in got] == self.labels)
        return sum(others, start=first), None if right is None else float(right)


def subject(name: str, images: Path, calibrating: int, back: int) -> Subject:
    """The network with the quantisers of all its tensors."""
    entry, mod = zoo.entry(name), frontend.load(zoo.fetch(name))
    mod = pipeline.layers()(Preprocess(PreprocessSpec.named(entry.preprocess))(mod) if entry.preprocess else mod)
    runner = LayerRunner(mod)
    graph, labels = runner.graph, None

    def samples(count: int) -> list[Batch]:
        return [*library_files(count)] if name == "magika" else [*data.load_labelled(images, graph, count).batches]

    first, both = samples(calibrating), samples(calibrating + back)
    seen = {digest(batch) for batch in first}
    others = [i for i, batch in enumerate(both) if digest(batch) not in seen][:back]
    if name != "magika" and class_count(graph) is not None:
        labels = classes(images, len(both))
    calibrated = Calibrated.of(mod, graph, gather(runner, calibratable(graph), first))
    choices = activation_choices(calibrated.statistics, TENSOR_WIDTHS)
    known, rest = None if labels is None else labels[others], [both[i] for i in others]
    return Subject(MixedNetwork(mod, runner, calibrated.weights, choices), calibrated, first, rest, known)


def classes(images: Path, count: int) -> np.ndarray | None:
    """The number that each picture's name begins with, of `count` taken evenly; None when one does not."""
    names, _ = pictures.in_folder(images)
    numbers = [re.match(r"[0-9]+", names[i * len(names) // count].name) for i in range(count)]
    return np.array([int(number[0]) for number in numbers if number]) if all(numbers) else None


def measures(found: Subject, table: OutputTable) -> dict[str, tuple[Table, Table]]:
    """Each measure's distortions of weights and of tensors."""
    graph, weights = found.graph, found.calibrated.weights
    paper = (
        weight_distortions({name: (each.array, each.weight_axis) for name, each in weights.items()}, WEIGHT_WIDTHS),
        activation_distortions(found.network.choices),
    )
    of_layers, of_values = (
        {n: each.array.size for n, each in weights.items()},
        {t.name: t.elements for t in graph.tensors},
    )
    total = times(paper[0], of_layers), times(paper[1], of_values)
    made = {"paper": paper, "paper, total": total}
    with_scores = class_count(graph) is not None
    for kind in ("mse", "kl") if with_scores else ("mse",):
        both = table.weight_distortions(WEIGHT_WIDTHS, kind), table.tensor_distortions(TENSOR_WIDTHS, kind)
        made[f"output {kind}"] = both
    if with_scores:
        lost = [
            {name: {bits: 1 - (error.agreement or 0.0) for bits, error in row.items()} for name, row in each.items()}
            for each in (table.weights, table.tensors)
        ]
        made["agreement"] = lost[0], lost[1]
    return made


def times(table: Table, sizes: Mapping[str, int]) -> Table:
    return {name: {bits: value * sizes[name] for bits, value in row.items()} for name, row in table.items()}


def assignments(found: Subject, count: int) -> list[tuple[dict[str, int], dict[str, int]]]:
    """Widths of all weights and tensors, at random: each assignment draws how often each width is taken."""
    random = np.random.default_rng(0)

    def drawn(names: Iterable[str], widths: Sequence[int]) -> dict[str, int]:
        share = random.dirichlet(np.ones(len(widths)))
        return {name: int(random.choice(widths, p=share)) for name in names}

    network = found.network
    return [(drawn(network.weights, WEIGHT_WIDTHS), drawn(network.choices, TENSOR_WIDTHS)) for _ in range(count)]


def ranking(found: Subject, tables: Mapping[str, tuple[Table, Table]], count: int) -> list[dict[str, Any]]:
    """Each measure's rank correlations with the truth over random assignments."""
    drawn = assignments(found, count)
    truth = [found.error(*each)[0] for each in drawn]
    real = {"mse": [each.mse for each in truth]}
    if class_count(found.graph) is not None:
        real = {"kl": [each.mean_kl for each in truth], "lost": [1 - (each.agreement or 0.0) for each in truth]}
    rows = []
    for name, (of_weights, of_tensors) in tables.items():
        sums = [
            sum(of_weights[key][bits] for key, bits in weights.items())
            + sum(of_tensors[key][bits] for key, bits in tensors.items())
            for weights, tensors in drawn
        ]
        row: dict[str, Any] = {"measure": name}
        for what, values in real.items():
            varied = len(set(sums)) > 1 and len(set(values)) > 1
            row[f"spearman_{what}"] = float(spearmanr(sums, values).statistic) if varied else None
            row[f"kendall_{what}"] = float(kendalltau(sums, values).statistic) if varied else None
        rows.append(row)
    return rows


def allocation(found: Subject, tables: Mapping[str, tuple[Table, Table]]) -> list[dict[str, Any]]:
    """What the network does with the widths that each measure gives its weights."""
    sizes = {name: each.array.size for name, each in found.calibrated.weights.items()}
    chosen = {f"uniform {AVERAGE}": dict.fromkeys(sizes, AVERAGE)}
    chosen |= {name: bits_for_average(sizes, table, AVERAGE) for name, (table, _) in tables.items()}
    rows = []
    for name, weights in chosen.items():
        error, top1 = found.error(weights, dict.fromkeys(found.network.choices, HELD))
        bits = sum(sizes[layer] * width for layer, width in weights.items()) / sum(sizes.values())
        rows.append({"measure": name, "bits": bits, "mse": error.mse, "kl": error.mean_kl,
                     "agreement": error.agreement, "top1": top1})  # fmt: skip
    return rows


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    print(f"\n{title}")
    for row in (list(rows[0]), *(each.values() for each in rows)):
        cells = (f"{cell:.4g}" if isinstance(cell, float) else str(cell or "-") for cell in row)
        print("".join(f"{cell:>16}" for cell in cells), flush=True)


def one(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Print both tables of one network, and return them."""
    found = subject(name, asked.images, asked.calibrating, asked.back)
    network, began = found.network, time.monotonic()
    table = output_table(
        network.mod, network.runner, found.calibrated, found.calibrating, WEIGHT_WIDTHS, TENSOR_WIDTHS,
        records_of(network.mod, network.runner),
    )  # fmt: skip
    seconds, tables, used = time.monotonic() - began, measures(found, table), min(SAMPLES, len(found.calibrating))
    entries = sum(len(row) for each in (table.weights, table.tensors) for row in each.values())
    print(f"\n{name}: {entries} entries over {used} samples in {seconds:.0f} s (what is cached is not run again)")
    ranked = ranking(found, tables, asked.assignments)
    show(f"rank correlation, {asked.assignments} random assignments on {len(found.back)} other samples", ranked)
    rows = allocation(found, tables)
    show(f"weights at an average of {AVERAGE} bits, tensors at {HELD}", rows)
    return {"network": name, "entries": entries, "samples": used, "held_back": len(found.back),
            "assignments": asked.assignments, "ranking": ranked, "allocation": rows}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="by default all of them")
    parser.add_argument("--images", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--calibrating", type=int, default=6, help="samples that distortions are measured on")
    parser.add_argument("--back", type=int, default=12, help="other samples, that assignments are run on")
    parser.add_argument("--assignments", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    made = [one(name, asked) for name in asked.network or NETWORKS]
    if asked.json:
        text = json.dumps({"benchmark": "distortion", "networks": made, "versions": versions()}, indent=1)
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
