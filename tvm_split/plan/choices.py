"""What may be chosen of each layer and tensor: the widths that the precision, the tensor and the user leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tvm_split.graph import DTYPE_BITS, Tensor
from tvm_split.plan.arena import storage_bits
from tvm_split.plan.mixed import precision_of, tensor_distortion
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.plan.problem import AS_IT_IS, Problem


@dataclass(frozen=True, slots=True)
class Choices:
    """Widths to choose from, ascending. A layer without quantisable weights has none; a tensor at its dtype's own
    width is as it is.

    weights: by layer. held: by tensor. crossing: by tensor, if it is held as it is; none crosses wider than it is held.
    """

    weights: Mapping[str, tuple[int, ...]]
    held: Mapping[str, tuple[int, ...]]
    crossing: Mapping[str, tuple[int, ...]]


def choices(problem: Problem) -> Choices:
    """All that the problem's precision allows. PlanError when it has none."""
    precision, graph = precision_of(problem), problem.graph
    return Choices(
        weights={layer.name: precision.weight_options(layer.name) for layer in graph.layers},
        held={tensor.name: held_options(problem, tensor) for tensor in graph.tensors},
        crossing={tensor.name: crossing_options(problem, tensor) for tensor in graph.tensors},
    )


def float_choices(problem: Problem, bits: int) -> Choices:
    """No choice: everything as it is, and floating-point tensors cross at `bits`."""
    graph = problem.graph
    return Choices(
        weights={layer.name: () for layer in graph.layers},
        held={tensor.name: (DTYPE_BITS[tensor.dtype],) for tensor in graph.tensors},
        crossing={tensor.name: (problem.width(tensor, bits),) for tensor in graph.tensors},
    )


def held_options(problem: Problem, tensor: Tensor) -> tuple[int, ...]:
    """Widths at which the edge may hold it. A network input may always stay as it came."""
    precision, own = precision_of(problem), DTYPE_BITS[tensor.dtype]
    if tensor.name not in precision.tensor_distortion or tensor.name in problem.graph.outputs:
        return (own,)
    if tensor.name in precision.fixed:
        return (min(own, precision.fixed[tensor.name]),)
    came = (own,) if problem.graph.producer.get(tensor.name) is None else ()
    held = {*came, *(min(own, bits) for bits in precision.tensor_widths(tensor.name, precision.widths))}
    return tuple(sorted(held)) or (own,)


def crossing_options(problem: Problem, tensor: Tensor) -> tuple[int, ...]:
    """Widths at which it may cross; as it is, or as the user says, where its distortion is not known."""
    if tensor.name not in precision_of(problem).tensor_distortion:
        return (problem.width(tensor, AS_IT_IS),)
    widths = precision_of(problem).tensor_widths(tensor.name, problem.cut_bits)
    return tuple(sorted({problem.width(tensor, bits) for bits in widths})) or (problem.width(tensor, AS_IT_IS),)


def worthwhile(problem: Problem, all_of_them: Choices, by_memory: bool, limit: float | None) -> Choices:
    """The choices without those that no best answer needs.

    Gone is what alone is over the limit of distortion. Of weights, a width no smaller and no better than another one
    on the same side of integers and floats, whose kernel takes the same scratch; without a limit on memory (by_memory),
    size and scratch say nothing. Of held tensors, the narrower one of two that take the same storage.
    """
    precision = precision_of(problem)
    weights = {}
    for layer in problem.graph.layers:
        alike: dict[tuple[bool, int], list[tuple[int, float, int]]] = {}
        for bits in all_of_them.weights[layer.name]:
            size, distortion = precision.weight_bytes(layer, bits) * by_memory, precision.of_weights(layer.name, bits)
            if limit is None or distortion <= limit:
                narrow = bits <= INTEGER_BITS
                side = narrow, precision.scratch_bytes(layer, narrow, bits) * by_memory
                alike.setdefault(side, []).append((size, distortion, bits))
        weights[layer.name] = tuple(sorted(bits for options in alike.values() for bits in _front(options)))

    def allowed(name: str, widths: tuple[int, ...]) -> list[int]:
        return [bits for bits in widths if limit is None or tensor_distortion(problem, name, bits) <= limit]

    held = {}
    for tensor in problem.graph.tensors:
        widest = {
            storage_bits(tensor, {tensor.name: bits}): bits
            for bits in allowed(tensor.name, all_of_them.held[tensor.name])
        }
        held[tensor.name] = tuple(widest.values())
    crossing = {name: tuple(allowed(name, widths)) for name, widths in all_of_them.crossing.items()}
    return Choices(weights, held, crossing)


def _front(options: list[tuple[int, float, int]]) -> Iterator[int]:
    """Of (size, distortion, bits), the bits that no other beats."""
    least = float("inf")
    for _, distortion, bits in sorted(options):
        if distortion < least:
            yield bits
            least = distortion
