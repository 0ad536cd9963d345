"""Auto-Split with bits, in full: Algorithm 1 of Banitalebi-Dehkordi et al. (KDD 2021).

    eq. (6)     cuts to try: all that crosses, at the narrowest width, is at most the raw input; and fits at b_min
    budgets     M_k^wgt = sum s_i^w B[k] and M_k^act = max s_i^a B[k] for each width B[k], of each cut anew
    eq. (8)     bits of weights: least distortion within M_k^wgt, by the Lagrangian (`shoham_gersho.py`)
    eq. (9)     bits of tensors: for a budget of the largest one, the widest of each that fits M_l^act
    eq. (5b)    what loses too much is dropped; all else joins the solution list

The paper's cuts are prefixes of the layers' order, its memory is the weights and the largest tensor; both are options.
By default the cuts of a minimum cut compete too, memory is the artefact's, and a tensor is held at the widest of those
widths that take the same storage: activations are computed at 8 or 16 bits, so that holding fewer only loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tvm_split.errors import PlanError
from tvm_split.graph import DTYPE_BITS, Layer
from tvm_split.plan.arena import storage_bits
from tvm_split.plan.choices import Choices, choices
from tvm_split.plan.evaluate import Storages, as_planned, ranked
from tvm_split.plan.light_cuts import light_cuts
from tvm_split.plan.mixed import Bits, CutPrice, precision_of
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import ROUNDING, Candidate, Problem
from tvm_split.plan.shoham_gersho import Step, allocate, hull_steps

#: cuts that are given bits, most promising first, once there is an answer; on large graphs so many that these have
#: WORK layers together, but no fewer than FEWEST
CUTS, WORK, FEWEST = 100, 12_000, 4


def solutions(
    problem: Problem, paper_memory: bool = False, paper_cuts: bool = False, cuts: int = CUTS
) -> tuple[Candidate, ...]:
    """The solution list, soonest first; cloud-only is in it unless a pin forbids it. At most 1 + cuts * widths^2 long.

    paper_memory: a Candidate's edge_memory_bytes is the paper's formula, and budgets beyond the limit are skipped
    unsolved. paper_cuts: only prefixes of the layers' order. PlanError when nothing keeps the limits.
    O(layers + reads) for the cuts, and for each that is given bits O(widths^2 * (layers + reads)).
    """
    algorithm = _Algorithm(problem, precision_of(problem), choices(problem), paper_memory)
    found: list[Candidate] = []
    refused: list[Candidate] = []
    most = min(cuts, max(FEWEST, WORK // max(1, len(problem.graph.layers))))
    for i, cut in enumerate(light_cuts(problem, paper_cuts)):
        if i >= most and found and cut:
            continue
        for candidate in algorithm.solve(cut):
            (found if algorithm.allows(candidate) else refused).append(candidate)
    if not found:
        raise _refused(problem, refused)
    return ranked(found)


@dataclass
class _Algorithm:
    """The loops of Algorithm 1 for one problem."""

    problem: Problem
    precision: Precision
    options: Choices
    paper_memory: bool

    def __post_init__(self) -> None:
        self.start: dict[str, int] = {}
        steps: list[Step] = []
        for layer, widths in self.options.weights.items():
            if widths:
                points = [(b, self._elements(layer) * b, self.precision.of_weights(layer, b)) for b in widths]
                self.start[layer], own = hull_steps(layer, points)
                steps += own
        self.steps = sorted(steps, key=lambda step: -step.slope)
        self.elements = {tensor.name: tensor.elements for tensor in self.problem.graph.tensors}
        self.widest = {name: self._widest(name, widths) for name, widths in self.options.held.items()}

    def _widest(self, name: str, widths: Iterable[int]) -> dict[int, int]:
        """For each width of a tensor the one to hold it at: the widest that takes the same storage."""
        if self.paper_memory:
            return {bits: bits for bits in widths}
        tensor = self.problem.graph.tensor[name]
        room = {bits: storage_bits(tensor, {name: bits}) for bits in widths}
        return {bits: max(other for other in room if room[other] == room[bits]) for bits in room}

    def _elements(self, layer: str) -> int:
        channels, each = self.precision.weight_matrix[layer]
        return channels * each

    def solve(self, cut: frozenset[str]) -> Iterator[Candidate]:
        """The solutions of one cut, each once, whether they keep the limits or not."""
        price = CutPrice(self.problem, cut)
        if not cut:
            yield self._price(price, Bits(), as_planned)
            return
        graph, widths = self.problem.graph, self.precision.widths
        layers = [layer for layer in graph.layers if layer.name in cut]
        made = [name for layer in layers for name in layer.outputs]
        read = [name for layer in layers for name in layer.inputs]
        largest = max((self.elements[name] for name in made), default=0)
        weights = sum(self._elements(name) for name in self.start if name in cut)
        least = sum(self._elements(name) * self.start[name] for name in self.start if name in cut)
        limit = self.problem.memory_bytes
        seen = set()
        tensor_bits = [self._tensor_bits(dict.fromkeys((*made, *read)), largest * bits) for bits in widths]
        weight_bits = [allocate(self.start, self.steps, cut, weights * level - least) for level in widths]
        for activations, (held, sent) in zip(widths, tensor_bits, strict=True):
            storages = _once(as_planned)
            for level, chosen in zip(widths, weight_bits, strict=True):
                budget_bytes = (weights * level + largest * activations) / 8
                if self.paper_memory and limit is not None and budget_bytes > limit:
                    continue
                key = (tuple(chosen.values()), tuple(held.values()), tuple(sent.values()))
                if key not in seen:
                    seen.add(key)
                    yield self._price(price, Bits(chosen, held, sent), storages)

    def _tensor_bits(self, names: Iterable[str], budget: int) -> tuple[dict[str, int], dict[str, int]]:
        """Held and crossing bits of each tensor: the widest that fits the budget, its narrowest if none does."""
        held, sent = {}, {}
        for name in names:
            widths, elements = self.options.held[name], self.elements[name]
            wanted = max((b for b in widths if elements * b <= budget), default=widths[0])
            held[name] = self.widest[name][wanted]
            crossing = self.options.crossing[name]
            sent[name] = max((b for b in crossing if b <= wanted), default=crossing[0])
        return held, sent

    def _price(self, price: CutPrice, bits: Bits, storages: Storages) -> Candidate:
        found = price.at(bits, storages)
        return replace(found, edge_memory_bytes=self._paper_bytes(found)) if self.paper_memory else found

    def _saved(self, layer: Layer, bits: int | None) -> int:
        """What the layer's float32 weights take beyond those of so many bits; nothing where they stay."""
        if bits is None:
            return 0
        elements = self._elements(layer.name)
        return layer.winograd_bytes + 4 * elements - -(-elements * bits // 8)

    def _paper_bytes(self, found: Candidate) -> int:
        """Weights and the largest tensor that the edge makes, each at its bits (5a)."""
        graph = self.problem.graph
        layers = [graph.layer[name] for name in found.edge_layers]
        weights = sum(layer.weight_bytes - self._saved(layer, found.weight_bits.get(layer.name)) for layer in layers)
        made = [graph.tensor[name] for layer in layers for name in layer.outputs]
        bits_of = [tensor.elements * found.tensor_bits.get(tensor.name, DTYPE_BITS[tensor.dtype]) for tensor in made]
        return weights + -(-max(bits_of, default=0) // 8)

    def allows(self, found: Candidate) -> bool:
        limit, most = self.problem.memory_bytes, self.precision.max_distortion
        if limit is not None and found.edge_layers and found.edge_memory_bytes > limit:
            return False
        return most is None or found.distortion <= most * (1 + ROUNDING)


def _once(storages: Storages) -> Storages:
    """The same for one cut and its tensors' bits: weights change nothing of it."""
    found: list[int] = []

    def same(*given: Any) -> int:
        if not found:
            found.append(storages(*given))
        return found[0]

    return same


def _refused(problem: Problem, refused: list[Candidate]) -> PlanError:
    """What the refused solutions would need."""
    if not refused:
        return PlanError(
            "no budget of auto-split is within memory_bytes (--memory); raise it, or remove a pin to the edge"
        )
    smallest = min(refused, key=lambda candidate: (candidate.edge_memory_bytes, candidate.distortion))
    finest = min(refused, key=lambda candidate: (candidate.distortion, candidate.edge_memory_bytes))
    return PlanError(
        f"no solution of auto-split keeps memory_bytes={problem.memory_bytes} (--memory) and "
        f"max_distortion={precision_of(problem).max_distortion}, and the pins forbid cloud-only; "
        f"{smallest.edge_memory_bytes} bytes with a distortion of {smallest.distortion:.6g} would do, or "
        f"{finest.edge_memory_bytes} bytes with {finest.distortion:.6g}"
    )
