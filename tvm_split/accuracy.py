"""What sending crossing tensors at few bits does to the network's outputs, on the user's data.

The edge half runs once a sample, in floats. What quantize-cut would do to each crossing tensor is then done in NumPy,
bit for bit as its kernels do it, and the cloud half, compiled once for a cut, runs once for each set of widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

from tvm_split import extract
from tvm_split.calibrate import HostModule, Range, quantizers_for
from tvm_split.data import in_order
from tvm_split.errors import DataError, ModelError, PlanError
from tvm_split.graph import Graph
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.partition import Partition, side_outputs
from tvm_split.passes.quantize_cut import Quantizer
from tvm_split.plan.problem import Candidate


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A candidate's outputs beside the float network's, over all elements of all outputs of all samples.

    samples: runs compared. top1_agreement: share of them in which the first output has its largest score at the same
    place; None when that output is no single row of scores. The errors are absolute differences, in the outputs' unit;
    relative_error is the L2 norm of the difference over that of the float outputs. An error is infinite when a
    quantised output is not finite, and so is relative_error when the float outputs are all 0 and the others not.
    """

    samples: int
    top1_agreement: float | None
    max_abs_error: float
    mean_abs_error: float
    relative_error: float

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite error is None, since JSON has no infinity."""
        errors = {name: getattr(self, name) for name in ("max_abs_error", "mean_abs_error", "relative_error")}
        return {
            "samples": self.samples,
            "top1_agreement": self.top1_agreement,
            **{name: value if math.isfinite(value) else None for name, value in errors.items()},
        }


def quantize_dequantize(x: np.ndarray, quantizer: Quantizer) -> np.ndarray:
    """What the cloud reads of `x` (float32, any shape): equal, bit for bit, to quantize-cut's two kernels.

    PlanError for another dtype, which quantize-cut cannot quantise.
    """
    if x.dtype != np.float32:
        raise PlanError(f"a crossing tensor of {x.dtype} cannot be quantised; only float32 can: send it at 32 bits")
    scale, zero = np.float32(quantizer.scale), np.float32(quantizer.zero_point)
    with np.errstate(over="ignore"):  # a kernel clips an infinity as well
        levels = np.clip(np.rint(x / scale) + zero, np.float32(0), np.float32(2**quantizer.bits - 1))
    return (levels - zero) * scale


def measure(
    mod: tvm.IRModule, candidates: Sequence[Candidate], ranges: Mapping[str, Range],
    batches: Sequence[Mapping[str, np.ndarray]], target: tvm.target.Target | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Accuracy]:  # fmt: skip
    """The accuracy of each candidate for a module of layers, in the candidates' order.

    A batch is one run: input name -> array of the input's shape and dtype. A candidate that quantises nothing is exact
    and is not run. Otherwise: two compilations and an edge run a sample for each cut, a cloud run a sample for each set
    of widths, and the float network once. The float outputs of all samples are held in memory.

    Raises DataError (no batches, or one that does not fit), PlanError (a range is missing), GraphError (no legal cut),
    ModelError (a float output that is not finite), BuildError (a half cannot be compiled).
    """
    say = progress or (lambda _message: None)
    graph = extract.graph(mod)
    if not batches:
        raise DataError("there are no batches to measure accuracy on; at least 1 is needed")
    samples = [in_order(batch, graph, number) for number, batch in enumerate(batches)]
    scores = _has_scores(graph)
    plans: dict[frozenset[str], dict[tuple[tuple[str, Quantizer], ...], Accuracy | None]] = {}
    keys = []
    for candidate in candidates:
        cut = graph.check_cut(candidate.edge_layers)
        read = graph.crossing(cut)
        chosen = {name: q for name, q in quantizers_for(candidate, graph, ranges).items() if name in read}
        keys.append((cut, tuple(sorted(chosen.items(), key=lambda item: item[0]))))
        if chosen:
            plans.setdefault(cut, {})[keys[-1][1]] = None
    reference = _reference(mod, graph, samples, target, say) if plans else []
    for number, (cut, found) in enumerate(plans.items(), 1):
        say(f"accuracy: cut {number} of {len(plans)}, {len(cut)} layers on the edge: compiling")
        halves = _Halves(mod, graph, cut, target)
        tallies = {widths: _Tally(scores) for widths in found}
        for i, sample in enumerate(samples):
            say(f"accuracy: cut {number} of {len(plans)}: sample {i + 1} of {len(samples)}, {len(found)} times")
            made = halves.edge_run(sample)
            for widths, tally in tallies.items():
                tally.add(reference[i], halves.outputs(made, dict(widths)))
        found.update((widths, tally.accuracy()) for widths, tally in tallies.items())
    exact = Accuracy(len(batches), 1.0 if scores else None, 0.0, 0.0, 0.0)
    return [plans.get(cut, {}).get(widths) or exact for cut, widths in keys]


def _has_scores(graph: Graph) -> bool:
    """Whether the first output is one row of scores: (..., C), C >= 2 and 1 elsewhere, of floats or 8-bit integers."""
    first = graph.tensor[graph.outputs[0]]
    is_score = first.is_float or first.dtype in ("int8", "uint8")
    return is_score and bool(first.shape) and first.shape[-1] >= 2 and first.elements == first.shape[-1]


def _reference(
    mod: tvm.IRModule, graph: Graph, samples: list[list[np.ndarray]], target: tvm.target.Target | None,
    say: Callable[[str], None],
) -> list[list[np.ndarray]]:  # fmt: skip
    say("accuracy: the float network: compiling")
    run = HostModule(mod, target)
    outputs = []
    for i, sample in enumerate(samples):
        say(f"accuracy: the float network: sample {i + 1} of {len(samples)}")
        outputs.append(run(sample))
        for name, array in zip(graph.outputs, outputs[-1], strict=True):
            if not np.isfinite(array.astype(np.float64)).all():
                raise ModelError(
                    f"output '{name}' of the float network is not finite on sample {i}, so nothing can be compared "
                    "with it; check that sample, the preprocessing and the weights"
                )
    return outputs


class _Halves:
    """One cut, compiled: the edge half gives crossing tensors and its outputs, the cloud half the other outputs."""

    def __init__(self, mod: tvm.IRModule, graph: Graph, cut: frozenset[str], target: tvm.target.Target | None) -> None:
        marked = AssignCut(cut)(mod)
        self._crossing, at_edge, self._at_cloud = side_outputs(marked)
        self._made = tuple(dict.fromkeys((*self._crossing, *at_edge)))
        self._names = graph.outputs
        self._edge = HostModule(Partition("edge")(marked), target)
        self._cloud = HostModule(Partition("cloud")(marked), target)

    def edge_run(self, sample: list[np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._made, self._edge(sample), strict=True))

    def outputs(self, made: Mapping[str, np.ndarray], quantizers: Mapping[str, Quantizer]) -> list[np.ndarray]:
        """The network's outputs when the cloud reads `made` through the quantisers; the edge's own stay."""
        sent = [
            quantize_dequantize(made[name], quantizers[name]) if name in quantizers else made[name]
            for name in self._crossing
        ]
        found = {**made, **dict(zip(self._at_cloud, self._cloud(sent), strict=True))}
        return [found[name] for name in self._names]


class _Tally:
    """Sums over samples, in float64."""

    def __init__(self, scores: bool) -> None:
        self._scores = scores
        self._samples = self._agreeing = self._elements = 0
        self._largest = self._total = self._squares = self._float_squares = 0.0

    def add(self, reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        self._samples += 1
        if self._scores:
            self._agreeing += int(np.argmax(reference[0]) == np.argmax(outputs[0]))
        for want, got in zip(reference, outputs, strict=True):
            want, got = want.astype(np.float64), got.astype(np.float64)
            error = np.nan_to_num(np.abs(got - want), nan=math.inf, posinf=math.inf)
            self._elements += error.size
            self._largest = max(self._largest, float(error.max(initial=0.0)))
            self._total += float(error.sum())
            self._squares += float(np.square(error).sum())
            self._float_squares += float(np.square(want).sum())

    def accuracy(self) -> Accuracy:
        relative = math.inf if self._squares else 0.0
        if self._float_squares:
            relative = math.sqrt(self._squares / self._float_squares)
        return Accuracy(
            self._samples,
            self._agreeing / self._samples if self._scores else None,
            self._largest,
            self._total / max(self._elements, 1),
            relative,
        )
