"""The network run on the samples, layer by layer: what quantisers follow from, and how accurate candidates are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import tvm

from tvm_split import accuracy
from tvm_split.accuracy import Accuracy
from tvm_split.calibration.finalists import Finalists
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable, is_quantisable, widths_below
from tvm_split.calibration.output_network import output_table, records_of
from tvm_split.calibration.output_table import OutputTable
from tvm_split.costs import Costs
from tvm_split.edge_half import EdgeHalf, has_bits, rounded_module
from tvm_split.graph import Graph
from tvm_split.held_back import Divided
from tvm_split.layer_runner import LayerRunner
from tvm_split.metrics import Judge
from tvm_split.passes.layer_weights import channel_axes, layer_weights
from tvm_split.plan.overrides import fixed_bits
from tvm_split.plan.precision import IntegerLayer, Precision
from tvm_split.plan.problem import Candidate, Side
from tvm_split.progress import counted
from tvm_split.quantised import Quantised
from tvm_split.request import FLOAT, Request


@dataclass
class Inside:
    """A module of layers and its graph; compiled for this machine when it is first asked for.

    `samples`: some calibrate, the others are held back to measure accuracy with `judge`. rounding: of `ROUNDINGS`.
    """

    mod: tvm.IRModule
    graph: Graph
    samples: Divided
    progress: Callable[[str], None]
    judge: Judge | None
    rounding: str
    _finalists: Finalists | None = None

    @property
    def batches(self) -> list[Mapping[str, Any]]:
        return list(self.samples.calibrating)

    @cached_property
    def runner(self) -> LayerRunner:
        self.progress("compiling each layer for this machine, to look inside the network")
        return LayerRunner(self.mod, progress=self.progress)

    def calibrated(self) -> Calibrated:
        """Statistics of every tensor that an edge may quantise."""
        return self.known(Calibrated.of(self.mod, self.graph, {}), calibratable(self.graph))

    def known(self, calibrated: Calibrated, names: list[str]) -> Calibrated:
        """With statistics of these tensors as well."""
        wanted = [name for name in names if name not in calibrated.statistics]
        if not wanted:
            return calibrated
        self.progress(f"calibrating {len(wanted)} tensors on {len(self.batches)} samples")
        runner = self.runner  # said before its samples are
        batches = counted(self.batches, "samples run", self.progress)
        found = gather(runner, wanted, batches, channel_axes(layer_weights(self.mod)))
        return replace(calibrated, statistics={**calibrated.statistics, **found})

    def outputs(
        self, calibrated: Calibrated, weight_widths: list[int], tensor_widths: list[int]
    ) -> tuple[OutputTable, list[str]]:
        """What each layer's weights and each tensor do to the outputs at each width, and cautions about the cache."""
        records = records_of(self.mod, self.runner)
        table = output_table(
            self.mod,
            self.runner,
            calibrated,
            self.batches,
            weight_widths,
            tensor_widths,
            records,
            self.progress,
            self.rounding,
        )
        return table, records.cautions

    def precision(
        self, request: Request, calibrated: Calibrated | None, integer: Costs | None,
        as_integers: Mapping[str, IntegerLayer],
    ) -> tuple[Precision | None, OutputTable | None, list[str]]:  # fmt: skip
        """What may be quantised on the edge, None without bits to choose; what the outputs lose by it, where the
        request asks for that; warnings."""
        wants_outputs = request.distortion == "output"
        if calibrated is None or tuple(request.edge_bits) == FLOAT:
            said = "--distortion output changes nothing: the edge has 32 bits only. Give --edge-bits, e.g. 8,32."
            return None, None, [said] if wants_outputs else []
        fixed = fixed_bits(self.graph, request.tensor_bits, {*calibrated.weights, *calibrated.statistics})
        outputs: OutputTable | None = None
        notes: list[str] = []
        if wants_outputs:
            below = widths_below((*request.edge_bits, *fixed.values()), request.cut_bits)
            outputs, notes = self.outputs(calibrated, *below)
        found = calibrated.precision(request.edge_bits, request.cut_bits, integer, fixed, outputs)
        return replace(found, integer_layers=as_integers), outputs, notes

    def look(
        self, candidates: list[Candidate], labels: list[str], result_at: Side, calibrated: Calibrated | None
    ) -> tuple[dict[Candidate, Quantised], list[Accuracy | None]]:
        """How the candidates' numbers are held, and each one's accuracy (None: none can lose any). labels: theirs."""
        crossing = dict.fromkeys(part.tensor for candidate in candidates for part in candidate.crossing)
        quantisable = [name for name in crossing if is_quantisable(self.graph.tensor[name], self.graph)]
        if not quantisable and not any(candidate.is_coded or has_bits(candidate) for candidate in candidates):
            return {candidate: Quantised() for candidate in candidates}, [None] * len(candidates)
        calibrated = self.known(calibrated or Calibrated.of(self.mod, self.graph, {}), quantisable)
        finalists = self._finalists
        if finalists is None or calibrated.statistics.keys() - finalists.calibrated.statistics.keys():
            finalists = Finalists(self.mod, self.runner, self.batches, calibrated, self.rounding)
            self._finalists = finalists
        quantised: dict[Candidate, Quantised] = {}
        halves: list[EdgeHalf | None] = []
        with_bits = [candidate for candidate in candidates if has_bits(candidate)]
        for candidate, label in zip(candidates, labels, strict=True):
            if has_bits(candidate):
                of = f" ({with_bits.index(candidate) + 1} of {len(with_bits)})" if len(with_bits) > 1 else ""
                self.progress(f"rounding the weights of '{label}' and compiling it here{of}")
            found = quantised[candidate] = finalists.of(candidate)
            half = None
            if has_bits(candidate):
                half = EdgeHalf(rounded_module(self.mod, found), candidate, *found.quantizers(), result_at)
            halves.append(half)
        sent = [quantised[candidate].quantizers()[1] for candidate in candidates]
        measured = accuracy.measure(
            self.runner, candidates, sent, self.samples.checking, self.progress, halves, self.judge
        )
        return quantised, list(measured)
