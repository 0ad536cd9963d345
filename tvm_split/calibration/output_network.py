"""The table of output distortions of a network that is being planned, kept in the cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tvm

from tvm_split.bundle_folder import canonical_json
from tvm_split.calibration.distortion import activation_choices
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.output_distortion import output_distortions
from tvm_split.calibration.output_records import Records
from tvm_split.calibration.output_table import OutputTable
from tvm_split.compile_half import weights_digest
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.versions import versions
from tvm_split.zoo.cache import folder

#: of what a record means; files of another are not read
VERSION = 1
#: samples that are run, evenly of those given: with more, the order of the layers hardly changes
SAMPLES = 16


def records_of(mod: tvm.IRModule, runner: LayerRunner) -> Records:
    """What earlier runs of the same network, by the same versions, left in the cache folder."""
    identity = {
        "version": VERSION, "graph": runner.graph.to_json(), "weights": weights_digest(mod), "versions": versions(),
    }  # fmt: skip
    name = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    return Records(folder() / "output-distortion" / f"{name}.jsonl")


def output_table(
    mod: tvm.IRModule,
    runner: LayerRunner,
    calibrated: Calibrated,
    batches: Sequence[Mapping[str, np.ndarray]],
    weight_widths: Iterable[int],
    tensor_widths: Iterable[int],
    records: Records,
    progress: Callable[[str], None] | None = None,
) -> OutputTable:
    """Of every layer and tensor that is calibrated, over at most SAMPLES of the batches; see `output_distortions`."""

    def changed(name: str, array: np.ndarray) -> LayerRunner:
        return runner.with_layers(tvm.transform.Sequential([RoundWeights({name: Rounded(array)})])(mod), [name])

    count = min(SAMPLES, len(batches))
    chosen = [batches[i * len(batches) // count] for i in range(count)]
    weights = {name: (each.array, each.weight_axis) for name, each in calibrated.weights.items()}
    choices = activation_choices(calibrated.statistics, tensor_widths)
    return output_distortions(runner, changed, weights, choices, chosen, weight_widths, records, progress)
