"""What sending crossing tensors at few bits does to the network's outputs, on the user's data.

The network runs once a sample, in floats. What quantize-cut would do to each crossing tensor is then done in NumPy, bit
for bit as its kernels do it, and the cloud's layers run on that, for each cut and set of widths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tvm_split import jpeg
from tvm_split.calibration.output_error import check_reference
from tvm_split.data import check_batch
from tvm_split.drop import Drop, drop_of, no_drop
from tvm_split.edge_half import EdgeHalf
from tvm_split.errors import DataError
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.metrics import Judge, class_count, same_class
from tvm_split.plan.problem import Candidate
from tvm_split.quantizer import Quantizer, quantize_dequantize


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A candidate's outputs beside the float network's, over all elements of all outputs of all samples.

    samples: runs compared. top1_agreement: share of them in which the first output has its largest score at the same
    place; None when that output is no single row of scores. The errors are absolute differences, in the outputs' unit;
    relative_error is the L2 norm of the difference over that of the float outputs. An error is infinite when a
    quantised output is not finite, and so is relative_error when the float outputs are all 0 and the others not.
    drop: what is lost of the metric's score; None where there is no metric.
    """

    samples: int
    top1_agreement: float | None
    max_abs_error: float
    mean_abs_error: float
    relative_error: float
    drop: Drop | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite error is None, since JSON has no infinity."""
        errors = {name: getattr(self, name) for name in ("max_abs_error", "mean_abs_error", "relative_error")}
        return {
            "samples": self.samples,
            "top1_agreement": self.top1_agreement,
            **{name: value if math.isfinite(value) else None for name, value in errors.items()},
            "drop": None if self.drop is None else self.drop.to_json(),
        }


def measure(
    runner: LayerRunner, candidates: Sequence[Candidate], sent: Sequence[Mapping[str, Quantizer]],
    batches: Sequence[Mapping[str, np.ndarray]], progress: Callable[[str], None] | None = None,
    halves: Sequence[EdgeHalf | None] = (), judge: Judge | None = None,
) -> list[Accuracy]:  # fmt: skip
    """The accuracy of each candidate for the runner's network, in the candidates' order.

    A batch is one run: input name -> array of the input's shape and dtype. A candidate that quantises and codes nothing
    is exact and is not run. A sample takes one run of the whole network, which serves all cuts, and a run of the
    cloud's layers for each cut and set of widths. One sample's tensors are held in memory at a time.

    sent: for each candidate the quantisers of its crossing tensors. halves: for each candidate whose edge computes with
    bits its edge half, None for the others; () when there is none. judge: what scores each sample, with the batches'
    labels; without it, no `drop` is known.

    Raises DataError (no batches, or one that does not fit), GraphError (no legal cut),
    ModelError (a float output that is not finite).
    """
    say = progress or (lambda _message: None)
    graph = runner.graph
    if not batches:
        raise DataError("there are no batches to measure accuracy on; at least 1 is needed")
    samples = [check_batch(batch, graph, number) for number, batch in enumerate(batches)]
    scores = class_count(graph) is not None
    with_halves = zip(candidates, sent, halves or [None] * len(candidates), strict=True)
    trials = [_Trial.of(graph, candidate, chosen, half) for candidate, chosen, half in with_halves]
    references: list[float] = []
    tallies = {trial: _Tally(scores) for trial in trials if trial.quantizers or trial.coded or trial.half}
    wanted = dict.fromkeys((*graph.outputs, *(name for trial in tallies for name in trial.crossing)))
    for i, sample in enumerate(samples if tallies else []):
        say(f"accuracy: sample {i + 1} of {len(samples)}, {len(tallies)} candidates")
        made = runner.run(sample, wanted)
        reference = [made[name] for name in graph.outputs]
        check_reference(reference, graph, i)
        if judge is not None:
            references.append(judge.score(i, reference, reference))
        for trial, tally in tallies.items():
            outputs = trial.outputs(runner, sample, made)
            tally.add(reference, outputs)
            if judge is not None:
                tally.scores.append(judge.score(i, reference, outputs))
    metric = judge.metric if judge is not None and references else None
    nothing = no_drop(metric.name, references) if metric else None
    exact = Accuracy(len(batches), 1.0 if scores else None, 0.0, 0.0, 0.0, nothing)

    def of(tally: _Tally) -> Accuracy:
        drop = drop_of(metric.name, references, tally.scores, metric.one_sided) if metric else None
        return replace(tally.accuracy(), drop=drop)

    return [of(tallies[trial]) if trial in tallies else exact for trial in trials]


@dataclass(frozen=True)
class _Trial:
    """A cut, its quantisers, and the frames that cross as JPEG: what a candidate does to the numbers.

    With `half`, which quantises itself, the edge's tensors are that one's.
    """

    cut: frozenset[str]
    crossing: tuple[str, ...]
    quantizers: tuple[tuple[str, Quantizer], ...]
    coded: tuple[str, ...]
    half: EdgeHalf | None = None

    @classmethod
    def of(
        cls, graph: Graph, candidate: Candidate, chosen: Mapping[str, Quantizer], half: EdgeHalf | None
    ) -> _Trial:  # fmt: skip
        cut = graph.check_cut(candidate.edge_layers)
        if half is not None:
            return cls(cut, graph.crossing(cut), (), (), half)
        crossing = graph.crossing(cut)  # an output that is only shown in the cloud is never quantised
        coded = tuple(part.tensor for part in candidate.crossing if part.codec == "jpeg")
        return cls(cut, crossing, tuple((name, chosen[name]) for name in crossing if name in chosen), coded)

    def outputs(
        self, runner: LayerRunner, sample: Mapping[str, np.ndarray], made: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """The network's outputs when the cloud reads the edge's tensors through the quantisers; the edge's own stay."""
        graph, sent = runner.graph, {name: made[name] for name in self.crossing}
        if self.half is not None:
            sent, at_edge = self.half.run(sample)
            made = {**sent, **at_edge}  # with the result at the cloud, the edge's outputs are sent as they are
        sent |= {name: quantize_dequantize(made[name], quantizer) for name, quantizer in self.quantizers}
        sent |= {name: jpeg.decode(jpeg.encode(made[name]), made[name].shape) for name in self.coded}
        at_cloud = [name for name in graph.outputs if graph.producer[name] not in (None, *self.cut)]
        found = {**made, **runner.run(sent, at_cloud)}
        return [found[name] for name in graph.outputs]


class _Tally:
    """Sums over samples, in float64; and each sample's score."""

    def __init__(self, has_classes: bool) -> None:
        self.scores: list[float] = []
        self._has_classes = has_classes
        self._samples = self._agreeing = self._elements = 0
        self._largest = self._total = self._squares = self._float_squares = 0.0

    def add(self, reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        self._samples += 1
        if self._has_classes:
            self._agreeing += same_class(reference[0], outputs[0])
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
            self._agreeing / self._samples if self._has_classes else None,
            self._largest,
            self._total / max(self._elements, 1),
            relative,
        )
