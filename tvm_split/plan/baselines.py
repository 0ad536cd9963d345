"""What the planners are compared with (KDD 2021): each answers one Candidate, whether it keeps the limits or not.

    uniform          edge-only with weights and tensors all at one width: U2, U4, U6, U8
    cloud-only 16    the raw frame goes up, 8 bits for each float, and the cloud computes as the distortion's reference
    Neurosurgeon     the best prefix, counting only what its last layer makes; its true price has all that crosses
    QDMP             the minimum cut of the float network
    QDMP quantised   the same cut, its edge part afterwards at the widest uniform width that fits the memory

No baseline looks at distortion; each says what it has. Float halves send float32, unless another width is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from tvm_split.errors import PlanError
from tvm_split.plan.cuts import legal_prefixes
from tvm_split.plan.evaluate import crossing_of
from tvm_split.plan.memory import fits
from tvm_split.plan.mixed import Bits, evaluate_mixed, precision_of
from tvm_split.plan.problem import AS_IT_IS, Candidate, Problem
from tvm_split.plan.qdmp import plan_qdmp
from tvm_split.plan.sending import packed_elements
from tvm_split.plan.sweep import sweep

#: bits of a raw frame's elements
FRAME_BITS = 8
#: widths of the uniform baselines
UNIFORM = (2, 4, 6, 8)


def uniform(problem: Problem, bits: int) -> Candidate:
    """Edge-only with everything that may be quantised at `bits`. PlanError when a distortion at it is not known."""
    return evaluate_mixed(problem, [layer.name for layer in problem.graph.layers], _all_at(problem, bits))


def cloud_only(problem: Problem, frame_bits: int = FRAME_BITS) -> Candidate:
    """Cloud-only as the paper counts it: a raw frame, where the network reads floats, and no distortion."""
    found = evaluate_mixed(problem, (), Bits())
    floats = {tensor.name for tensor in problem.graph.tensors if tensor.is_float}
    widths = [min(part.bits, frame_bits) if part.tensor in floats else part.bits for part in found.crossing]
    frame = tuple(
        replace(part, bits=bits, size_bytes=-(-math.prod(part.shape) * bits // 8))
        for part, bits in zip(found.crossing, widths, strict=True)
    )
    uplink_s = problem.link.up_s(sum(part.size_bytes for part in frame)) if frame else 0.0
    return replace(found, crossing=frame, predicted=replace(found.predicted, uplink_s=uplink_s))


def neurosurgeon(problem: Problem, bits: int = AS_IT_IS) -> Candidate:
    """The prefix whose layers, last tensors and downlink take least (Kang et al., ASPLOS 2017), truly priced."""
    graph, swept = problem.graph, sweep(problem, bits)

    def own_s(n: int) -> float:
        timing = swept[n].timing
        if not n or not timing.uplink_s:
            return timing.total_s
        made = graph.layers[n - 1].outputs
        sent = sum(crossing_of(problem, graph.tensor[name], bits).size_bytes for name in made)
        more = packed_elements(graph, made) - swept[n].packed_elements
        packing_s = more * (problem.edge.per_crossing_element_s + problem.cloud.per_crossing_element_s)
        return timing.total_s - timing.uplink_s + problem.link.up_s(sent) + packing_s

    best = min(legal_prefixes(problem), key=lambda n: (own_s(n), n))
    return _floats(problem, [layer.name for layer in graph.layers[:best]], bits)


def qdmp(problem: Problem, bits: int = AS_IT_IS) -> Candidate:
    """The best cut of the float network, without a look at the memory (Zhang et al., IMWUT 2020)."""
    without = replace(problem, precision=None, memory_bytes=None, cut_bits=(bits,))
    return _floats(problem, plan_qdmp(without)[0].edge_layers, bits)


def qdmp_quantised(problem: Problem) -> Candidate:
    """QDMP's cut at the widest width at which it fits, the narrowest if it never does; what crosses as well."""
    cut = qdmp(problem).edge_layers
    widths = sorted(precision_of(problem).widths, reverse=True)
    found = [evaluate_mixed(problem, cut, _all_at(problem, bits)) for bits in widths]
    return next((candidate for candidate in found if fits(problem, candidate)), found[-1])


def baselines(problem: Problem) -> dict[str, Candidate]:
    """Name -> answer, of those that pins and widths allow."""
    every: dict[str, Callable[[], Candidate]] = {f"U{bits}": partial(uniform, problem, bits) for bits in UNIFORM}
    every |= {
        "cloud-only 16": partial(cloud_only, problem),
        "Neurosurgeon": partial(neurosurgeon, problem),
        "QDMP": partial(qdmp, problem),
        "QDMP quantised": partial(qdmp_quantised, problem),
    }
    sides = set(problem.pinned().values())
    found = {}
    for name, answer in every.items():
        forbidden = "cloud" if name.startswith("U") else "edge" if name.startswith("cloud") else None
        if forbidden in sides:
            continue
        try:
            found[name] = answer()
        except PlanError:  # a width whose distortion is not known, or no prefix that the pins allow
            continue
    return found


def _floats(problem: Problem, edge: Iterable[str], bits: int) -> Candidate:
    """A cut of the float network, with what crosses at `bits`."""
    tensors = problem.graph.tensors
    return evaluate_mixed(problem, edge, Bits(crossing={tensor.name: bits for tensor in tensors}))


def _all_at(problem: Problem, bits: int) -> Bits:
    """Everything at one width, but the network's inputs: a frame comes as it is."""
    made = [name for layer in problem.graph.layers for name in layer.outputs]
    tensors = dict.fromkeys(made, bits)
    return Bits({layer.name: bits for layer in problem.graph.layers}, tensors, tensors)
