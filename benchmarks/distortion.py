"""Which distortion ranks layers better: that of weights and tensors themselves, or that of the network's outputs.

    python benchmarks/distortion.py [--network NAME] [--images DIR] [--assignments 30] [--json FILE]

Each measure of distortion is taken over the calibrating samples, for every layer's weights and every tensor at every
width (tvm_split/calibration/). Then random assignments of widths to all weights and tensors are run on other samples,
and the sum of an assignment's distortions is correlated with what it really does to the network: the KL divergence of
its scores and how often it agrees with the float network, or, for a network without scores, the error of its outputs.
Last, weights get the widths of least summed distortion within an average of so many bits (an integer programme),
beside the same width for all; tensors have 8 bits then.

    paper           Auto-Split's D_i (KDD 2021, 5b): mean squared error of the weights, of the tensor
    paper, total    the same times the elements: squared error, not its mean
    output mse      relative squared error of the outputs when that one alone is quantised
    output kl       KL divergence of the scores likewise
    agreement       share of samples lost likewise

Weights and tensors are quantised and dequantised in floats, with each layer's own kernels: integer kernels differ from
that by rounding only. efficientnet-lite0 and ppocr-det run on photographs; where these are named after their class,
top-1 is shown too. magika runs on the files of Python's library.
"""

from __future__ import annotations

import argparse
import json
import re
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.stats import kendalltau, spearmanr

from tvm_split import data, frontend, pictures, pipeline, zoo
from tvm_split.calibration.distortion import Table, activation_choices, activation_distortions, weight_distortions
from tvm_split.calibration.gather import gather
from tvm_split.calibration.layer_inputs import as_held
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.output_error import OutputError, has_scores
from tvm_split.calibration.output_network import SAMPLES, output_table, records_of
from tvm_split.calibration.output_table import OutputTable
from tvm_split.calibration.ranges import Choice
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.preprocess import Preprocess
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.versions import versions

Batch = Mapping[str, np.ndarray]
NETWORKS = ("efficientnet-lite0", "magika", "ppocr-det")
WEIGHT_WIDTHS, TENSOR_WIDTHS = (3, 4, 6, 8), (4, 6, 8)
#: bits of tensors while widths of weights are allocated
HELD = 8
#: what magika reads of a file's beginning and end, and what stands for no byte
HALF, PADDING = 1024, 256


@dataclass
class Subject:
    """A network, its samples, and what is known of it. Runners of one changed layer are made once."""

    mod: tvm.IRModule
    runner: LayerRunner
    calibrating: list[Batch]
    back: list[Batch]
    labels: np.ndarray | None
    calibrated: Calibrated
    choices: Mapping[str, Mapping[int, Choice]]
    _changed: dict[tuple[str, int], LayerRunner] = field(default_factory=dict)
    _floats: list[list[np.ndarray]] = field(default_factory=list)

    def layer(self, name: str, bits: int) -> LayerRunner:
        key = name, bits
        if key not in self._changed:
            each = self.calibrated.weights[name]
            codes = quantize_weights(each.array, each.weight_axis, bits)
            rounded = Rounded(dequantize_weights(*codes, each.weight_axis))
            self._changed[key] = self.runner.with_layers(RoundWeights({name: rounded})(self.mod), [name])
        return self._changed[key]

    def floats(self, number: int) -> list[np.ndarray]:
        """The float network's outputs for each of the samples that are held back."""
        if not self._floats:
            self._floats += [list(self.runner.run(batch, self.runner.graph.outputs).values()) for batch in self.back]
        return self._floats[number]

    def outputs(self, batch: Batch, weights: Mapping[str, int], tensors: Mapping[str, int]) -> list[np.ndarray]:
        """Of the network with its weights and tensors at these widths."""
        graph = self.runner.graph

        def held(name: str, array: np.ndarray) -> np.ndarray:
            return as_held(array, self.choices[name][tensors[name]].quantizer if name in tensors else None)

        values = {name: held(name, array) for name, array in batch.items()}
        for layer in graph.layers:
            run = self.layer(layer.name, weights[layer.name]) if layer.name in weights else self.runner
            known = {name: values[name] for name in layer.inputs}
            values |= {name: held(name, array) for name, array in run.run(known, layer.outputs).items()}
            last = {name for name in known if graph.readers[name][-1] == layer.name and name not in graph.outputs}
            for name in last:
                del values[name]
        return [values[name] for name in graph.outputs]

    def error(self, weights: Mapping[str, int], tensors: Mapping[str, int]) -> tuple[OutputError, float | None]:
        """What the widths do to the samples held back, and top-1 where these have labels."""
        scores, right = has_scores(self.runner.graph), 0
        found: OutputError | None = None
        for number, batch in enumerate(self.back):
            got = self.outputs(batch, weights, tensors)
            one = OutputError.of(self.floats(number), got, scores)
            found = one if found is None else found + one
            right += self.labels is not None and int(np.argmax(got[0])) == self.labels[number]
        assert found is not None
        return found, None if self.labels is None else right / len(self.back)


def subject(name: str, images: Path, calibrating: int, back: int) -> Subject:
    """The network with the quantisers of all its tensors."""
    entry, mod = zoo.entry(name), frontend.load(zoo.fetch(name))
    mod = pipeline.layers()(Preprocess(PreprocessSpec.named(entry.preprocess))(mod) if entry.preprocess else mod)
    runner = LayerRunner(mod)
    count, labels = calibrating + back, None
    if name == "magika":
        batches = files(count)
    else:
        found = data.load_labelled(images, runner.graph, count)
        batches, labels = list(found.batches), found.labels
        if labels is None:
            labels = classes(images, found.total or 0, len(batches))
    is_back = np.arange(len(batches)) % max(1, len(batches) // calibrating) != 0
    first = [batch for batch, later in zip(batches, is_back, strict=True) if not later][:calibrating]
    rest = [batch for batch, later in zip(batches, is_back, strict=True) if later][:back]
    graph = runner.graph
    names = [t.name for t in graph.tensors if t.dtype == "float32" and t.elements and graph.readers[t.name]]
    calibrated = Calibrated.of(mod, graph, gather(runner, names, first))
    known = None if labels is None or not has_scores(graph) else np.asarray(labels)[is_back][:back]
    return Subject(
        mod, runner, first, rest, known, calibrated, activation_choices(calibrated.statistics, TENSOR_WIDTHS)
    )


def classes(images: Path, total: int, count: int) -> np.ndarray | None:
    """The number that each picture's name begins with; None when one does not."""
    names, _ = pictures.in_folder(images)
    chosen = [names[i * total // count] for i in range(count)]
    numbers = [re.match(r"[0-9]+", path.name) for path in chosen]
    return np.array([int(number[0]) for number in numbers if number]) if all(numbers) else None


def files(count: int) -> list[Batch]:
    """Files of Python's library as magika reads them: of each kind in turn, the beginning and the end."""
    every: dict[str, list[Path]] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.*")):
        if path.is_file() and path.stat().st_size > HALF:
            every.setdefault(path.suffix, []).append(path)
    turns = [paths[i] for i in range(count) for paths in every.values() if i < len(paths)][:count]
    return [{"bytes": magika_input(path.read_bytes())} for path in turns]


def magika_input(content: bytes) -> np.ndarray:
    begin, end = content.lstrip()[:HALF], content.rstrip()[-HALF:]
    row = [*begin, *[PADDING] * (HALF - len(begin)), *[PADDING] * (HALF - len(end)), *end]
    return np.array([row], np.int32)


def measures(found: Subject, table: OutputTable) -> dict[str, tuple[Table, Table]]:
    """Each measure's distortions of weights and of tensors."""
    graph, weights = found.runner.graph, found.calibrated.weights
    paper = (
        weight_distortions({name: (each.array, each.weight_axis) for name, each in weights.items()}, WEIGHT_WIDTHS),
        activation_distortions(found.choices),
    )
    sizes = {name: each.array.size for name, each in weights.items()}, {t.name: t.elements for t in graph.tensors}
    total = tuple(
        {name: {bits: value * size[name] for bits, value in row.items()} for name, row in each.items()}
        for each, size in zip(paper, sizes, strict=True)
    )
    made = {"paper": paper, "paper, total": (total[0], total[1])}
    for measure in ("mse", "kl") if table.measure == "kl" else ("mse",):
        both = table.weight_distortions(WEIGHT_WIDTHS, measure), table.tensor_distortions(TENSOR_WIDTHS, measure)
        made[f"output {measure}"] = both
    if table.measure == "kl":
        lost = [
            {name: {bits: 1 - (error.agreement or 0.0) for bits, error in row.items()} for name, row in each.items()}
            for each in (table.weights, table.tensors)
        ]
        made["agreement"] = lost[0], lost[1]
    return made


def assignments(found: Subject, count: int, seed: int) -> list[tuple[dict[str, int], dict[str, int]]]:
    """Widths of all weights and tensors, at random: each assignment draws how often each width is taken."""
    random, made = np.random.default_rng(seed), []
    for _ in range(count):
        shares = [random.dirichlet(np.ones(len(widths))) for widths in (WEIGHT_WIDTHS, TENSOR_WIDTHS)]
        drawn = (
            {name: int(random.choice(widths, p=share)) for name in names}
            for names, widths, share in zip(
                (found.calibrated.weights, found.choices), (WEIGHT_WIDTHS, TENSOR_WIDTHS), shares, strict=True
            )
        )
        made.append((next(drawn), next(drawn)))
    return made


def ranking(found: Subject, tables: Mapping[str, tuple[Table, Table]], count: int, seed: int) -> list[dict[str, Any]]:
    """Each measure's rank correlations with the truth over random assignments."""
    drawn = assignments(found, count, seed)
    truth = [found.error(*each)[0] for each in drawn]
    real = {"kl": [error.mean_kl for error in truth], "lost": [1 - (error.agreement or 0.0) for error in truth]}
    if not has_scores(found.runner.graph):
        real = {"mse": [error.mse for error in truth]}
    rows = []
    for name, (of_weights, of_tensors) in tables.items():
        sums = [
            sum(of_weights[key][bits] for key, bits in weights.items())
            + sum(of_tensors[key][bits] for key, bits in tensors.items())
            for weights, tensors in drawn
        ]
        row: dict[str, Any] = {"measure": name}
        for what, values in real.items():
            row[f"spearman_{what}"] = float(spearmanr(sums, values).statistic)
            row[f"kendall_{what}"] = float(kendalltau(sums, values).statistic)
        rows.append(row)
    return rows


def allocated(found: Subject, of_weights: Table, average: int) -> dict[str, int]:
    """Widths of least distortion with at most so many bits a weight."""
    sizes = {name: each.array.size for name, each in found.calibrated.weights.items()}
    options = [(name, bits) for name, row in of_weights.items() for bits in row]
    lost = np.array([of_weights[name][bits] for name, bits in options])
    taken_bits = np.array([float(sizes[name] * bits) for name, bits in options])
    one_each = np.array([[name == layer for name, _ in options] for layer in of_weights], float)
    limits = [LinearConstraint(one_each, 1, 1), LinearConstraint(taken_bits, ub=average * sum(sizes.values()))]
    solved = milp(lost / lost.max(), constraints=limits, bounds=Bounds(0, 1), integrality=np.ones(len(options)))
    return {name: bits for (name, bits), chosen in zip(options, solved.x, strict=True) if chosen > 0.5}


def allocation(found: Subject, tables: Mapping[str, tuple[Table, Table]], average: int) -> list[dict[str, Any]]:
    """What the network does with the widths that each measure gives its weights."""
    sizes = {name: each.array.size for name, each in found.calibrated.weights.items()}
    chosen = {f"uniform {average}": dict.fromkeys(sizes, average)}
    chosen |= {name: allocated(found, table, average) for name, (table, _) in tables.items()}
    rows = []
    for name, weights in chosen.items():
        error, top1 = found.error(weights, dict.fromkeys(found.choices, HELD))
        bits = sum(sizes[layer] * width for layer, width in weights.items()) / sum(sizes.values())
        rows.append({"measure": name, "bits": bits, "mse": error.mse, "kl": error.mean_kl,
                     "agreement": error.agreement, "top1": top1})  # fmt: skip
    return rows


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    heads = list(rows[0])
    print("".join(f"{head:>16}" for head in heads))
    for row in rows:
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value or "-") for value in row.values())
        print("".join(f"{cell:>16}" for cell in cells), flush=True)


def one(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    found = subject(name, asked.images, asked.calibrating, asked.back)
    began = time.monotonic()
    table = output_table(
        found.mod, found.runner, found.calibrated, found.calibrating, WEIGHT_WIDTHS, TENSOR_WIDTHS,
        records_of(found.mod, found.runner),
    )  # fmt: skip
    seconds, tables = time.monotonic() - began, measures(found, table)
    entries = sum(len(row) for each in (table.weights, table.tensors) for row in each.values())
    used = min(SAMPLES, len(found.calibrating))
    print(f"\n{name}: {entries} entries over {used} samples in {seconds:.0f} s (what is cached is not run again)")
    ranked = ranking(found, tables, asked.assignments, asked.seed)
    print(f"rank correlation with {asked.assignments} random assignments on {len(found.back)} other samples")
    show(ranked)
    print(f"\nweights at an average of {asked.average} bits, tensors at {HELD}")
    rows = allocation(found, tables, asked.average)
    show(rows)
    return {"network": name, "entries": entries, "samples": used, "held_back": len(found.back),
            "assignments": asked.assignments, "ranking": ranked, "allocation": rows}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="by default all of them")
    parser.add_argument("--images", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--calibrating", type=int, default=6, help="samples that distortions are measured on")
    parser.add_argument("--back", type=int, default=12, help="other samples, that assignments are run on")
    parser.add_argument("--assignments", type=int, default=30)
    parser.add_argument("--average", type=int, default=4, help="bits of a weight when widths are allocated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    made = [one(name, asked) for name in asked.network or NETWORKS]
    if asked.json:
        text = json.dumps({"benchmark": "distortion", "networks": made, "versions": versions()}, indent=1)
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
