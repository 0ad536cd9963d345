"""What is known of a network before its bits are planned: statistics of its tensors, its weights, who shares codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tvm_split.calibration.distortion import activation_choices, activation_distortions, weight_distortions
from tvm_split.calibration.half_error import half_distortion, half_error
from tvm_split.calibration.output_table import OutputTable
from tvm_split.calibration.quantizers import held_choices
from tvm_split.calibration.ranges import Choice, best_range, range_by
from tvm_split.calibration.statistics import Statistics
from tvm_split.costs import Costs
from tvm_split.graph import DTYPE_BITS, Graph, Tensor
from tvm_split.passes.layer_weights import LayerWeights, layer_weights
from tvm_split.passes.same_codes import same_codes, together
from tvm_split.plan.precision import EDGE_WIDTHS, HALF_BITS, INTEGER_BITS, Precision
from tvm_split.plan.problem import Candidate
from tvm_split.quantizer import Quantizer

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
        below, of_tensors = widths_below((*widths, *fixed.values()), cut_bits)
        arrays = {name: (each.array, each.weight_axis) for name, each in self.weights.items()}
        if outputs is None:
            of_weights = weight_distortions(arrays, below)
            of_values = activation_distortions(activation_choices(self.statistics, of_tensors), self.statistics)
        else:
            of_weights, of_values = outputs.weight_distortions(below), outputs.tensor_distortions(of_tensors)
            too_large = [of_weights[name] for name, (array, _) in arrays.items() if half_distortion(array) is None]
            too_large += [of_values[name] for name, each in self.statistics.items() if half_error(each) is None]
            for table in too_large:
                table.pop(HALF_BITS, None)
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

    def held(self, candidate: Candidate, method: str | None = None) -> dict[str, Choice]:
        """The quantiser of each tensor that the candidate's edge half holds as integers.

        By the method (`ranges.METHODS`), or the least error of all. So `sent`.
        """
        bits = {name: width for name, width in candidate.tensor_bits.items() if width <= INTEGER_BITS}
        groups = together(linked for layer, linked in self.links.items() if layer in candidate.edge_layers)
        return held_choices(self.statistics, bits, groups, method)

    def everywhere(self, bits: int) -> dict[str, Quantizer]:
        """A quantiser of every tensor that may be quantised, by its least and largest value."""
        names = dict.fromkeys(self.statistics, bits)
        found = held_choices(self.statistics, names, together(self.links.values()), "min-max")
        return {name: choice.quantizer for name, choice in found.items()}

    def sent(
        self, candidate: Candidate, held: Mapping[str, Choice], method: str | None = None
    ) -> dict[str, Choice]:  # fmt: skip
        """The quantiser of each tensor that crosses at fewer bits than its own; that of the half, if it is as wide.

        Network inputs and integers have none. KeyError when a tensor has no statistics.
        """
        found = {}
        for part in candidate.crossing:
            tensor = self.graph.tensor[part.tensor]
            if is_quantisable(tensor, self.graph) and part.bits < DTYPE_BITS[tensor.dtype]:
                own = held.get(tensor.name)
                known = self.statistics[tensor.name]
                if own is not None and own.quantizer.bits == part.bits:
                    found[tensor.name] = own
                else:
                    found[tensor.name] = (
                        best_range(known, part.bits) if method is None else range_by(method, known, part.bits)
                    )
        return found


def is_quantisable(tensor: Tensor, graph: Graph) -> bool:
    """Whether a crossing tensor can be sent narrower: floats that the network makes, and that have elements."""
    return tensor.is_float and tensor.elements > 0 and tensor.name not in graph.inputs


def calibratable(graph: Graph) -> list[str]:
    """The tensors that an edge may hold as integers: of float32, with elements, and read by a layer."""
    return [t.name for t in graph.tensors if t.dtype == "float32" and t.elements and graph.readers[t.name]]


def widths_below(widths: Sequence[int], cut_bits: Sequence[int]) -> tuple[list[int], list[int]]:
    """The widths below 32 that weights and that tensors may have, for which distortions are wanted."""
    below = sorted({bits for bits in widths if bits < EDGE_WIDTHS[-1]})
    return below, sorted({*below, *(bits for bits in cut_bits if bits < EDGE_WIDTHS[-1])})


def _on_integers(weights: LayerWeights) -> bool:
    """Whether lower-qdq computes such a layer on integers: no transposed convolution, none in three dimensions."""
    return not weights.transposed and weights.array.ndim <= 4
