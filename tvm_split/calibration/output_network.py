"""The table of output distortions of a network that is being planned, kept in the cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tvm

from tvm_split.bundle_folder import canonical_json
from tvm_split.calibration.distortion import activation_choices
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.output_distortion import digest, output_distortions
from tvm_split.calibration.output_records import Records
from tvm_split.calibration.output_table import OutputTable
from tvm_split.calibration.rounded import IN_ORDER, NEAREST
from tvm_split.calibration.rounded_alone import RoundedAlone
from tvm_split.calibration.weights import nearest_weights
from tvm_split.compile_half import weights_digest
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_readings import readings
from tvm_split.passes.layer_weights import LayerWeights
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.versions import versions
from tvm_split.zoo.cache import folder

#: of what a record means; files of another are not read
VERSION = 2
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
    rounding: str = NEAREST,
) -> OutputTable:
    """Of every layer and tensor that is calibrated, over at most SAMPLES of the batches; see `output_distortions`.

    rounding: of `ROUNDINGS`. In order, weights below 8 bits are rounded on every second batch, each layer for itself,
    and measured on the others: on the samples that its weights are fitted to, a layer of 2 bits seems to lose little.
    One batch alone must do for both.
    """
    alone = RoundedAlone(runner, readings(mod), batches[::2]) if rounding == IN_ORDER else None

    def changed(name: str, bits: int) -> LayerRunner:
        found = alone(name, bits) if alone is not None and bits < INTEGER_BITS else None
        return with_weights(mod, runner, name, found or nearest(calibrated.weights[name], bits))

    measured_on = batches if alone is None else batches[1::2] or batches
    count = min(SAMPLES, len(measured_on))
    chosen = [measured_on[i * len(measured_on) // count] for i in range(count)]
    sizes = {name: 4 * each.array.size for name, each in calibrated.weights.items()}
    choices = activation_choices(calibrated.statistics, tensor_widths)
    by = "weights" if alone is None else f"weights {_identity(alone)}"
    return output_distortions(runner, changed, sizes, choices, chosen, weight_widths, records, progress, by)


def nearest(weights: LayerWeights, bits: int) -> Rounded:
    """A layer's weights as their nearest codes of so many bits stand for them."""
    return Rounded(nearest_weights(weights.array, weights.weight_axis, bits))


def with_weights(mod: tvm.IRModule, runner: LayerRunner, name: str, rounded: Rounded) -> LayerRunner:
    """`runner`, of `mod`, with other weights in one layer."""
    return runner.with_layers(tvm.transform.Sequential([RoundWeights({name: rounded})])(mod), [name])


def _identity(alone: RoundedAlone) -> str:
    """Of the samples that weights are rounded by."""
    return hashlib.sha256("".join(map(digest, alone.batches)).encode()).hexdigest()
