"""The edge's memory as rows of the programme: `live.py`'s live tensors, and all else as `evaluate_mixed` counts it.

    memory    = weights + inputs + peak of each dtype + results + integers + payload - view + scratch
    weights   of each layer at its bits, on floats or integers; without quantisable ones, its constants on either
    scratch   of the layer that takes most: on floats, or on integers with weights of its bits, which may be decoded
    live[i]   = live[i-1] + what layer i makes - what layer i-1 read last, unless it crosses      peak >= live[i]
    integers  of tensors that are sent narrower than they are, where no layer leaves them room
    alone     may be 1 when one tensor crosses at most: then pack takes no scratch, and its last copy is the payload

A step counts whether or not its layer is on the edge: nothing more is alive then than after the edge layer before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tvm_split.graph import DTYPE_BITS, Layer
from tvm_split.plan.arena import is_copied, is_stored, storage
from tvm_split.plan.cut_model import CutModel, Sending
from tvm_split.plan.evaluate import apart, input_bytes, results_at_edge, shared_dtypes
from tvm_split.plan.problem import AS_IT_IS
from tvm_split.plan.programme import INF, Programme, Sum
from tvm_split.plan.sending import copies_of, copies_of_one, payload_of

#: a network's weights and tensors in the programme's units
UNITS = 1e4


def add_memory(model: CutModel) -> tuple[Sum, Sum]:
    """Bytes of the half, as a sum to limit or to minimise: with layers and bits chosen, its least value is what
    `evaluate_mixed` counts with storages that take what is `alive`. And the bytes of these storages, results aside.

    The programme counts in units of some bytes, so that its numbers stay far above what HiGHS calls nothing.
    """
    graph, bytes_of = model.problem.graph, Sum(constant=float(input_bytes(model.problem.graph)))
    everything = sum(layer.weight_bytes for layer in graph.layers) + sum(tensor.size_bytes for tensor in graph.tensors)
    unit = max(1.0, everything / UNITS)
    _add_weights(model, bytes_of)
    storages = _add_storages(model, bytes_of, unit)
    _add_payload(model, bytes_of, unit)
    return bytes_of, storages


def _held_as(name: str, bits: int, own: int) -> dict[str, int]:
    return {name: bits} if bits < own else {}


def _add_weights(model: CutModel, total: Sum) -> None:
    precision = model.problem.precision
    for layer in model.problem.graph.layers:
        widths = model.weights.get(layer.name)
        here = model.integer.get(layer.name)
        if widths is None or precision is None:  # none to quantise, but on integers its constants may be others
            total.add(model.on[layer.name], layer.weight_bytes)
            if here is not None and precision is not None:
                total.add(here, precision.weight_bytes(layer, AS_IT_IS) - layer.weight_bytes)
            continue
        for bits, variable in widths.items():
            beside_floats = precision.weight_bytes(layer, bits, on_integers=False)
            beyond = precision.weight_bytes(layer, bits) - beside_floats
            if here is None or not beyond:
                total.add(variable, beside_floats)
                continue
            total.add(variable, beside_floats + min(beyond, 0))
            # 1 where the layer has this width, and is on that of both which takes more
            more = model.programme.variable()
            whole, side = (1.0, 1.0) if beyond > 0 else (0.0, -1.0)
            model.programme.row({variable: 1.0, here: side, more: -1.0}, high=whole)
            total.add(more, abs(beyond))


class _Pools:
    """For each dtype, what is alive of it and the most that ever is, in units."""

    def __init__(self, programme: Programme, unit: float) -> None:
        self.programme = programme
        self.unit = unit
        self.peak: dict[str, int] = {}
        self._alive: dict[str, dict[str, Sum]] = {}
        self._stays: dict[str, Sum] = {}

    def make(self, name: str, dtype: str, variable: int, size_bytes: float) -> None:
        """From the next step on, so many bytes more of the tensor are alive if the variable is 1."""
        self._alive.setdefault(dtype, {}).setdefault(name, Sum()).add(variable, size_bytes / self.unit)

    def free(self, name: str) -> None:
        for tensors in self._alive.values():
            tensors.pop(name, None)

    def stay(self, dtype: str, variable: int, size_bytes: float) -> None:
        """To the end, so many bytes more are alive if the variable is 1."""
        self._stays.setdefault(dtype, Sum()).add(variable, size_bytes / self.unit)

    def step(self, copies: Mapping[str, Sum]) -> None:
        """A layer runs: what is alive, and with it these copies (in bytes), is at most the peak."""
        for dtype in {**self._alive, **copies}:
            if dtype not in self.peak:
                self.peak[dtype] = self.programme.variable(high=INF)
            alive = Sum()
            for size in self._alive.get(dtype, {}).values():
                alive.add_all(size)
            if dtype in self._stays:
                if len(self._stays[dtype].terms) > 1:  # one variable for them all, so that rows stay short
                    total = self.programme.variable(high=INF)
                    self.programme.row({**self._stays[dtype].terms, total: -1.0}, 0.0, 0.0)
                    self._stays[dtype] = Sum({total: 1.0})
                alive.add_all(self._stays[dtype])
            if dtype in copies:
                alive.add_all(copies[dtype], 1 / self.unit)
            alive.add(self.peak[dtype], -1.0)
            self.programme.at_most(alive, 0.0)


def _add_storages(model: CutModel, total: Sum, unit: float) -> Sum:
    """Peaks of each dtype, which it returns, and the results."""
    graph, pools, returned = model.problem.graph, _Pools(model.programme, unit), results_at_edge(model.problem)
    for i, layer in enumerate(graph.layers):
        for name in layer.outputs:
            for dtype, variable, size_bytes in _storages(model, name):
                if name in returned:
                    total.add(variable, size_bytes)
                if is_stored(graph.tensor[name], returned):
                    pools.make(name, dtype, variable, size_bytes)
        pools.step(_copies(model, layer))
        for name in dict.fromkeys((*layer.inputs, *layer.outputs)):
            readers = graph.readers[name]
            last = graph.position(readers[-1]) if readers else i
            if last == i and graph.producer[name] is not None and name not in graph.outputs:
                pools.free(name)
                for way in model.sent.get(name, ()):
                    dtype, size_bytes = storage(graph.tensor[name], _as_held(model, way))
                    pools.stay(dtype, way.variable, size_bytes)
    storages = Sum(dict.fromkeys(pools.peak.values(), unit))
    total.add_all(storages)
    return storages


def _storages(model: CutModel, name: str) -> Iterator[tuple[str, int, int]]:
    """dtype, variable and bytes of each storage that the tensor may have."""
    tensor = model.problem.graph.tensor[name]
    for bits, variable in model.held[name].items():
        dtype, size_bytes = storage(tensor, _held_as(name, bits, DTYPE_BITS[tensor.dtype]))
        yield dtype, variable, size_bytes


def _copies(model: CutModel, layer: Layer) -> dict[str, Sum]:
    """Bytes, by dtype, of the half's copies of network inputs while this layer runs."""
    graph, found = model.problem.graph, dict[str, Sum]()
    for name in layer.inputs:
        own = DTYPE_BITS[graph.tensor[name].dtype]
        for bits, variable in model.held[name].items() if graph.producer[name] is None else ():
            held = _held_as(name, bits, own)
            if not is_copied(graph, name, held):
                continue
            dtype, size_bytes = storage(graph.tensor[name], held)
            if len(graph.readers[name]) > 1:
                both = model.programme.variable()
                model.programme.row({variable: 1.0, model.on[layer.name]: 1.0, both: -1.0}, high=1.0)
                variable = both
            found.setdefault(dtype, Sum()).add(variable, size_bytes)
    return found


def _add_payload(model: CutModel, total: Sum, unit: float) -> None:
    """Payload and scratch, `sending.payload_of` of any choice; and the integers that `evaluate.alive` counts."""
    graph, programme = model.problem.graph, model.programme
    ways = [way for found in model.sent.values() for way in found]
    shared = shared_dtypes(model.problem)
    for way in ways:
        total.add(way.variable, apart(copies_of_one(graph, way.part, _as_held(model, way)), shared))
    total.add_all(model.payload)
    scratch = programme.variable(high=INF)
    total.add(scratch, unit)
    _add_scratch(model, scratch, unit)
    several = len(model.sent) > 1
    alone = programme.variable(whole=True) if several else model.always
    view = programme.variable(high=INF)
    total.add(view, -unit)
    sizes = {name: max((way.part.size_bytes for way in found), default=0) / unit for name, found in model.sent.items()}
    if several:
        programme.row([*((way.variable, 1.0) for way in ways), (alone, len(sizes) - 1.0)], high=float(len(sizes)))
        packed = Sum({scratch: -1.0, alone: -sum(sizes.values())})
        packed.add_all(model.payload, 1 / unit)
        programme.at_most(packed, 0.0)
    less = [(way.variable, -_less_alone(model, way, shared) / unit) for way in ways]
    programme.row([(view, 1.0), *((variable, by) for variable, by in less if by)], high=0.0)
    programme.row({view: 1.0, alone: -max(sizes.values(), default=0.0)}, high=0.0)


def _less_alone(model: CutModel, way: Sending, shared: Collection[str]) -> int:
    """Bytes that the tensor takes less when it crosses alone."""
    graph, held = model.problem.graph, _as_held(model, way)
    beside = apart(copies_of_one(graph, way.part, held), shared) + way.part.size_bytes
    return beside - apart(copies_of(graph, [way.part], held), shared) - payload_of(graph, [way.part], held)[0]


def _integer_scratch(model: CutModel, layer: Layer) -> dict[int, int]:
    """Bytes on integers by the bits of its weights, as decoding packed ones takes its own; {} where it stays on floats,
    or where nothing depends on it."""
    precision = model.problem.precision
    if precision is None or layer.name not in model.integer:
        return {}
    return {bits: precision.scratch_bytes(layer, True, bits) for bits in model.integer_widths(layer.name)}


def _add_scratch(model: CutModel, scratch: int, unit: float) -> None:
    """`scratch` is at least that of each layer: on floats, or on integers with the weights that it has."""
    graph = model.problem.graph
    most: dict[str, int] = {}
    for layer in graph.layers:
        floats, integers = layer.scratch_bytes, _integer_scratch(model, layer)
        before = max((most[name] for name in graph.predecessors(layer.name)), default=0)
        most[layer.name] = max(before, min([floats, *integers.values()]))
        if max([floats, *integers.values()]) <= before:  # a layer that it needs takes as much
            continue
        on = model.on[layer.name]
        row = Sum({on: floats / unit, scratch: -1.0})
        if integers:
            here, least = model.integer[layer.name], min(integers.values())
            row.add(here, (least - floats) / unit)
            for size in sorted({*integers.values()} - {least}):  # more with these weights: 1 if so and on integers
                more = Sum()
                more.add_all(row)
                by = (size - least) / unit
                more.add(here, by)
                more.add(on, -by)
                for bits, taken in integers.items():
                    if taken == size:
                        more.add(model.weights[layer.name][bits], by)
                model.programme.at_most(more, 0.0)
        model.programme.at_most(row, 0.0)


def _as_held(model: CutModel, way: Sending) -> dict[str, int]:
    name = way.part.tensor
    return _held_as(name, way.held, DTYPE_BITS[model.problem.graph.tensor[name].dtype])
