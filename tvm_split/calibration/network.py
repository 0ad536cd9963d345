"""What is known of a network before its bits are planned: statistics of its tensors, its weights, who shares codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tvm_split.calibration.distortion import activation_choices, activation_distortions, weight_distortions
from tvm_split.calibration.output_table import OutputTable
from tvm_split.calibration.quantizers import held_choices
from tvm_split.calibration.ranges import Choice, best_range
from tvm_split.calibration.statistics import Statistics
from tvm_split.costs import Costs
from tvm_split.graph import DTYPE_BITS, Graph
from tvm_split.passes.layer_weights import LayerWeights, layer_weights
from tvm_split.passes.quantize_cut import Quantizer
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.plan.precision import EDGE_WIDTHS, INTEGER_BITS, Precision
from tvm_split.plan.problem import Candidate

if TYPE_CHECKING:
    import tvm


@dataclass(frozen=True, eq=False)
class Calibrated:
    """`statistics` of the float tensors that may be quantised, `weights` by layer, `links` as same_codes has them."""

    graph: Graph
    statistics: Mapping[str, Statistics]
    weights: Mapping[str, LayerWeights] = field(default_factory=dict)
    links: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, mod: tvm.IRModule, graph: Graph, statistics: Mapping[str, Statistics]) -> Calibrated:
        found = layer_weights(mod).items()
        return cls(graph, statistics, {name: each for name, each in found if _on_integers(each)}, same_codes(mod))

    def precision(
        self, widths: Sequence[int], cut_bits: Sequence[int], integer: Costs | None, fixed: Mapping[str, int],
        outputs: OutputTable | None = None,
    ) -> Precision:  # fmt: skip
        """What planners choose from: distortions as Auto-Split has them (KDD 2021, constraint 5b), or of `outputs`.

        widths: bits that the edge's weights and tensors may have; cut_bits: those that a tensor may cross at.
        """
        below, of_tensors = widths_below(widths, cut_bits)
        arrays = {name: (each.array, each.weight_axis) for name, each in self.weights.items()}
        if outputs is None:
            of_weights = weight_distortions(arrays, below)
            of_values = activation_distortions(activation_choices(self.statistics, of_tensors))
        else:
            of_weights, of_values = outputs.weight_distortions(below), outputs.tensor_distortions(of_tensors)
        return Precision(
            widths=tuple(sorted(widths)),
            weight_matrix={
                name: (each.array.shape[each.weight_axis], each.array.size // each.array.shape[each.weight_axis])
                for name, each in self.weights.items()
            },
            weight_distortion=of_weights,
            tensor_distortion=of_values,
            integer=integer,
            fixed=fixed,
        )

    def held(self, candidate: Candidate) -> dict[str, Choice]:
        """The quantiser of each tensor that the candidate's edge half holds as integers."""
        bits = {name: width for name, width in candidate.tensor_bits.items() if width <= INTEGER_BITS}
        groups = together(linked for layer, linked in self.links.items() if layer in candidate.edge_layers)
        return held_choices(self.statistics, bits, groups)

    def sent(self, candidate: Candidate) -> dict[str, Quantizer]:
        """The quantiser of each tensor that crosses at fewer bits than its own; that of the half, if it is as wide."""
        held, found = self.held(candidate), {}
        for part in candidate.crossing:
            tensor = self.graph.tensor[part.tensor]
            if not tensor.is_float or tensor.name in self.graph.inputs or part.bits >= DTYPE_BITS[tensor.dtype]:
                continue
            own = held.get(part.tensor)
            choice = own if own is not None and own.quantizer.bits == part.bits else None
            found[part.tensor] = (choice or best_range(self.statistics[part.tensor], part.bits)).quantizer
        return found

    def quantizers(self, candidate: Candidate) -> tuple[dict[str, Quantizer], dict[str, Quantizer]]:
        """`held`, without how it was found, and `sent`."""
        return {name: choice.quantizer for name, choice in self.held(candidate).items()}, self.sent(candidate)


def widths_below(widths: Sequence[int], cut_bits: Sequence[int]) -> tuple[list[int], list[int]]:
    """The widths below 32 that weights and that tensors may have, for which distortions are wanted."""
    below = [bits for bits in widths if bits < EDGE_WIDTHS[-1]]
    return below, sorted({*below, *(bits for bits in cut_bits if bits < EDGE_WIDTHS[-1])})


def _on_integers(weights: LayerWeights) -> bool:
    """Whether lower-qdq computes such a layer on integers: no transposed convolution, none in three dimensions."""
    return not weights.transposed and weights.array.ndim <= 4
