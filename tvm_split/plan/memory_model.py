"""The edge's memory as rows of the programme: `live.py`'s live tensors, and all else as `evaluate_mixed` counts it.

    memory    = weights + inputs + peak + copies + payload - view + scratch
    live[i]   = live[i-1] + what layer i makes - what layer i-1 read last, unless it crosses      peak >= live[i]
    alone     may be 1 when one tensor crosses at most: then pack takes no scratch, and at 8 bits the payload is a view

A cut's step counts whether or not its layer is on the edge: nothing more is alive then than after the edge layer before.
"""

from __future__ import annotations

from tvm_split.graph import DTYPE_BITS, Layer
from tvm_split.plan.arena import storage
from tvm_split.plan.cut_model import CutModel, Sending
from tvm_split.plan.evaluate import copy_bytes, input_bytes, pack_bytes
from tvm_split.plan.live import copied_bytes
from tvm_split.plan.programme import INF, Sum

#: a network's weights and tensors in the programme's units
UNITS = 1e4


def add_memory(model: CutModel) -> Sum:
    """Bytes of the half, as a sum to limit or to minimise: its least value is what the half takes.

    The programme counts in units of some bytes, so that its numbers stay far above what HiGHS calls nothing.
    """
    graph, bytes_of = model.problem.graph, Sum(constant=float(input_bytes(model.problem.graph)))
    everything = sum(layer.weight_bytes for layer in graph.layers) + sum(tensor.size_bytes for tensor in graph.tensors)
    unit = max(1.0, everything / UNITS)
    _add_weights(model, bytes_of)
    bytes_of.add(_peak(model, unit), unit)
    _add_payload(model, bytes_of, unit)
    return bytes_of


def _held_as(name: str, bits: int, own: int) -> dict[str, int]:
    return {name: bits} if bits < own else {}


def _add_weights(model: CutModel, total: Sum) -> None:
    precision = model.problem.precision
    for layer in model.problem.graph.layers:
        widths = model.weights.get(layer.name)
        if widths is None or precision is None:
            total.add(model.on[layer.name], layer.weight_bytes)
            continue
        for bits, variable in widths.items():
            total.add(variable, precision.weight_bytes(layer, bits))


def _peak(model: CutModel, unit: float) -> int:
    graph, programme = model.problem.graph, model.programme
    peak = programme.variable(high=INF)
    live, freed = programme.variable(high=INF), Sum()
    programme.row({live: 1.0}, 0.0, 0.0)
    for i, layer in enumerate(graph.layers):
        change = Sum()
        change.add_all(freed, -1.0)
        freed = Sum()
        for name in layer.outputs:
            change.add_all(_storage(model, name), 1 / unit)
        for name in dict.fromkeys((*layer.inputs, *layer.outputs)):
            readers = graph.readers[name]
            last = graph.position(readers[-1]) if readers else i
            if last == i and graph.producer[name] is not None and name not in graph.outputs:
                freed.add_all(_storage(model, name), 1 / unit)
                freed.add_all(_crossing_storage(model, name), -1 / unit)
        after = programme.variable(high=INF)
        programme.row({live: 1.0, after: -1.0, **change.terms}, -change.constant, -change.constant)
        live = after
        alive = Sum({live: 1.0, peak: -1.0})
        for name in layer.inputs:
            if graph.producer[name] is None:
                alive.add_all(_copied(model, layer, name, unit))
        programme.at_most(alive, 0.0)
    return peak


def _storage(model: CutModel, name: str) -> Sum:
    """Bytes of a tensor's storage."""
    tensor, total = model.problem.graph.tensor[name], Sum()
    for bits, variable in model.held[name].items():
        total.add(variable, storage(tensor, _held_as(name, bits, DTYPE_BITS[tensor.dtype]))[1])
    return total


def _crossing_storage(model: CutModel, name: str) -> Sum:
    """The same, if it crosses."""
    tensor, total = model.problem.graph.tensor[name], Sum()
    for way in model.sent.get(name, ()):
        total.add(way.variable, storage(tensor, _held_as(name, way.held, DTYPE_BITS[tensor.dtype]))[1])
    return total


def _copied(model: CutModel, layer: Layer, name: str, unit: float) -> Sum:
    """Units of the half's copy of a network input while one of its readers runs; with several readers, if it does."""
    graph, total = model.problem.graph, Sum()
    own = DTYPE_BITS[graph.tensor[name].dtype]
    sizes = {bits: copied_bytes(graph, name, _held_as(name, bits, own)) / unit for bits in model.held[name]}
    most = max(sizes.values())
    if not most:
        return total
    for bits, variable in model.held[name].items():
        total.add(variable, sizes[bits])
    if len(graph.readers[name]) == 1:
        return total
    here = model.programme.variable(high=INF)
    for bits, variable in model.held[name].items():
        model.programme.row({variable: sizes[bits], model.on[layer.name]: sizes[bits], here: -1.0}, high=sizes[bits])
    return Sum({here: 1.0})


def _add_payload(model: CutModel, total: Sum, unit: float) -> None:
    """Copies, payload and scratch, `payload_memory_bytes` of any choice."""
    graph, programme = model.problem.graph, model.programme
    ways = [way for found in model.sent.values() for way in found]
    for way in ways:
        total.add(way.variable, copy_bytes(graph, way.part, _as_held(model, way)))
    total.add_all(model.payload)
    scratch = programme.variable(high=INF)
    total.add(scratch, unit)
    most: dict[str, int] = {}
    for layer in graph.layers:
        before = max((most[name] for name in graph.predecessors(layer.name)), default=0)
        most[layer.name] = max(before, layer.scratch_bytes)
        if layer.scratch_bytes > before:  # else a layer that it needs takes as much
            programme.row({model.on[layer.name]: layer.scratch_bytes / unit, scratch: -1.0}, high=0.0)
    several = len(model.sent) > 1
    alone = programme.variable(whole=True) if several else model.always
    view = programme.variable(high=INF)
    total.add(view, -unit)
    sizes = {name: max(way.part.size_bytes for way in found) / unit for name, found in model.sent.items()}
    if several:
        programme.row([*((way.variable, 1.0) for way in ways), (alone, len(sizes) - 1.0)], high=float(len(sizes)))
        packed = Sum({scratch: -1.0, alone: -sum(sizes.values())})
        packed.add_all(model.payload, 1 / unit)
        programme.at_most(packed, 0.0)
    seen = [way for way in ways if not pack_bytes(graph, {way.part.tensor: way.part}, held=_as_held(model, way))[0]]
    programme.row([(view, 1.0), *((way.variable, -way.part.size_bytes / unit) for way in seen)], high=0.0)
    programme.row({view: 1.0, alone: -max(sizes.values(), default=0.0)}, high=0.0)


def _as_held(model: CutModel, way: Sending) -> dict[str, int]:
    name = way.part.tensor
    return _held_as(name, way.held, DTYPE_BITS[model.problem.graph.tensor[name].dtype])
