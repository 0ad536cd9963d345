"""The integer programme of a cut with bits: its variables, the rules between them, and what they add up to.

    on[i]          layer i is on the edge; it needs the layers that it reads from
    weights[i,b]   one for each layer with quantisable weights on the edge
    held[t,b]      one for each tensor that the edge makes, and for each network input that it reads
    sent[t,b,w]    t is held at b and crosses at w: at least one when a reader is in the cloud and the maker is not
    integer[i]     layer i is computed on integers, as its weights and the tensors that it reads allow

Where there is one width, no variable is made for it. `held` and `sent` are paired so that distortion, copies and bytes
are sums. A layer and tensor has a few variables and rows, so the programme grows as the graph does; memory, in
`memory_model.py`, is a chain over the layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm_split.graph import DTYPE_BITS, Tensor
from tvm_split.plan.arena import storage_bits
from tvm_split.plan.choices import Choices
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.mixed import Bits, float_reads, may_be_integer, tensor_distortion
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.plan.problem import AS_IT_IS, Crossing, Problem
from tvm_split.plan.programme import Programme, Sum
from tvm_split.plan.sending import packed_elements


@dataclass(frozen=True, slots=True)
class Sending:
    """Variable of a tensor that is held at `held` bits and crosses as `part`."""

    variable: int
    held: int
    part: Crossing


class CutModel:
    """The programme, and sums of its variables: seconds, bytes and distortion as `evaluate_mixed` counts them."""

    def __init__(self, problem: Problem, options: Choices) -> None:
        self.problem = problem
        self.options = options
        self.programme = Programme()
        self.on: dict[str, int] = {}
        self.weights: dict[str, dict[int, int]] = {}
        self.held: dict[str, dict[int, int]] = {}
        self.sent: dict[str, list[Sending]] = {}
        self.integer: dict[str, int] = {}
        self.edge_s, self.cloud_s, self.uplink_s, self.downlink_s = Sum(), Sum(), Sum(), Sum()
        self.payload, self.distortion = Sum(), Sum()
        self.always = self.programme.variable(1.0, 1.0)
        self._layers()
        for tensor in problem.graph.tensors:
            self._hold(tensor)
        for tensor in problem.graph.tensors:
            self._send(tensor)
        self._seconds()

    def is_quantised(self, tensor: str, bits: int) -> bool:
        return bits < DTYPE_BITS[self.problem.graph.tensor[tensor].dtype]

    def maker(self, tensor: str) -> int:
        """The variable that is 1 when the tensor is on the edge."""
        layer = self.problem.graph.producer[tensor]
        return self.always if layer is None else self.on[layer]

    def _layers(self) -> None:
        graph, programme, precision = self.problem.graph, self.programme, self.problem.precision
        edge, cloud = forced_sides(self.problem)
        for layer in graph.layers:
            on = programme.variable(float(layer.name in edge), float(layer.name not in cloud), whole=True)
            self.on[layer.name] = on
            for before in graph.predecessors(layer.name):
                programme.row({on: 1.0, self.on[before]: -1.0}, high=0.0)
            widths = self.options.weights[layer.name]
            if precision is None or layer.name not in precision.weight_distortion:
                continue
            self.weights[layer.name] = self._one_of(widths, on)
            for bits, variable in self.weights[layer.name].items():
                self.distortion.add(variable, precision.of_weights(layer.name, bits))
        programme.row({on: 1.0 for on in self.on.values()}, low=1.0)

    def _one_of(self, widths: tuple[int, ...], whole: int) -> dict[int, int]:
        """A variable for each width, of which as many are 1 as `whole` is."""
        if len(widths) == 1:
            return {widths[0]: whole}
        found = {bits: self.programme.variable(whole=True) for bits in widths}
        self.programme.row({**dict.fromkeys(found.values(), 1.0), whole: -1.0}, 0.0, 0.0)
        return found

    def _hold(self, tensor: Tensor) -> None:
        if tensor.name not in self.problem.graph.producer:
            return
        used = self.maker(tensor.name) if self.problem.graph.producer[tensor.name] else self._taken(tensor)
        self.held[tensor.name] = self._one_of(self.options.held[tensor.name], used)
        for bits, variable in self.held[tensor.name].items():
            if self.is_quantised(tensor.name, bits):
                self.distortion.add(variable, tensor_distortion(self.problem, tensor.name, bits))

    def _taken(self, tensor: Tensor) -> int:
        """1 when an edge layer reads the network input."""
        readers = [self.on[name] for name in self.problem.graph.readers[tensor.name]]
        if len(readers) == 1:
            return readers[0]
        taken = self.programme.variable()
        for on in readers:
            self.programme.row({on: 1.0, taken: -1.0}, high=0.0)
        return taken

    def _send(self, tensor: Tensor) -> None:
        graph, programme = self.problem.graph, self.programme
        readers = graph.readers[tensor.name]
        as_result = self.problem.result_at == "cloud" and tensor.name in graph.outputs
        if tensor.name not in graph.producer or not (readers or as_result):
            return
        maker = self.maker(tensor.name)
        self.sent[tensor.name] = ways = list(self._ways(tensor, maker if as_result else None))
        elements = packed_elements(graph, [tensor.name])
        for way in ways:
            self.payload.add(way.variable, way.part.size_bytes)
            self.edge_s.add(way.variable, self.problem.edge.crossing_s(elements))
            self.cloud_s.add(way.variable, self.problem.cloud.crossing_s(elements))
            if self.problem.precision is not None:
                narrowest = min(way.held, way.part.bits)
                both = tensor_distortion(self.problem, tensor.name, narrowest)
                self.distortion.add(way.variable, both - tensor_distortion(self.problem, tensor.name, way.held))
        if as_result:
            return
        for reader in readers:
            crosses = [(way.variable, 1.0) for way in ways]
            programme.row([*crosses, (maker, -1.0), (self.on[reader], 1.0)], low=0.0)
        if graph.producer[tensor.name] is None or len(self.held[tensor.name]) == 1:
            return
        for bits, variable in self.held[tensor.name].items():
            own = [(way.variable, 1.0) for way in ways if way.held == bits]
            if own:
                programme.row([*own, (variable, -1.0)], high=0.0)

    def _ways(self, tensor: Tensor, forced: int | None) -> Iterator[Sending]:
        """Ways to send it. A network input crosses as it came, whatever the edge makes of it."""
        came = self.problem.graph.producer[tensor.name] is None
        own = DTYPE_BITS[tensor.dtype]
        pairs: dict[tuple[int, int], None] = {}
        for held in (own,) if came else self.held[tensor.name]:
            most = storage_bits(tensor, {tensor.name: held})
            pairs.update({(held, min(width, most)): None for width in self.options.crossing[tensor.name]})
        for held, width in pairs:
            part = Crossing(tensor.name, tensor.shape, width, -(-tensor.elements * width // 8))
            variable = self.programme.variable(whole=len(pairs) > 1) if forced is None else forced
            yield Sending(variable, held, part)

    def _seconds(self) -> None:
        problem, link = self.problem, self.problem.link
        for layer in problem.graph.layers:
            on = self.on[layer.name]
            cloud_s = problem.cloud.of(layer.name)
            self.edge_s.add(on, problem.edge.of(layer.name))
            self.cloud_s.constant += cloud_s
            self.cloud_s.add(on, -cloud_s)
            self._on_integers(layer.name)
        self.uplink_s.add_all(self.payload, 1 / link.up_bytes_per_s)
        if link.rtt_s:
            anything = self.programme.variable()
            self.uplink_s.add(anything, link.rtt_s / 2)
            for ways in self.sent.values():
                self.programme.row([(anything, -1.0), *((way.variable, 1.0) for way in ways)], high=0.0)
        self._results()

    def _on_integers(self, name: str) -> None:
        problem, programme = self.problem, self.programme
        layer, precision = problem.graph.layer[name], problem.precision
        if precision is None or precision.integer is None or not may_be_integer(problem, layer):
            return
        gain_s = problem.edge.of(name) - precision.integer_s(name)
        widths = self.integer_widths(name)
        saved = [layer.scratch_bytes - precision.scratch_bytes(layer, True, bits) for bits in widths] + [
            precision.weight_bytes(layer, bits, on_integers=False) - precision.weight_bytes(layer, bits)
            for bits in widths
        ]
        most, least = max([0, *saved]), min([0, *saved])  # bytes that integers save, and that they cost
        needs = [
            [variable for bits, variable in self.held[tensor].items()
             if bits <= INTEGER_BITS and self.is_quantised(tensor, bits)]
            for tensor in float_reads(problem, layer)
        ]  # fmt: skip
        if name in self.weights:
            needs.append([variable for bits, variable in self.weights[name].items() if bits <= INTEGER_BITS])
        if not (gain_s or most or least) or not all(needs):
            return
        here = self.integer[name] = programme.variable()
        self.edge_s.add(here, -gain_s)
        for narrow in [*needs, [self.on[name]]] if gain_s > 0 or most > 0 else []:
            programme.row([(here, 1.0), *((variable, -1.0) for variable in narrow)], high=0.0)
        if gain_s < 0 or least < 0:
            every = [(variable, 1.0) for narrow in [*needs, [self.on[name]]] for variable in narrow]
            programme.row([*every, (here, -1.0)], high=float(len(needs)))

    def integer_widths(self, layer: str) -> list[int]:
        """Widths that its weights may have on integers; as they are, when it has none to quantise."""
        if layer not in self.weights:
            return [AS_IT_IS]
        return [bits for bits in self.weights[layer] if bits <= INTEGER_BITS]

    def _results(self) -> None:
        """Outputs made in the cloud come back, when they are wanted at the edge."""
        graph, link = self.problem.graph, self.problem.link
        made = [(name, graph.producer[name]) for name in dict.fromkeys(graph.outputs) if graph.tensor[name].size_bytes]
        makers = [(graph.tensor[name].size_bytes, self.on[maker]) for name, maker in made if maker is not None]
        if self.problem.result_at == "cloud" or not makers:
            return
        for size_bytes, on in makers:
            self.downlink_s.constant += size_bytes / link.down_bytes_per_s
            self.downlink_s.add(on, -size_bytes / link.down_bytes_per_s)
        if link.rtt_s:
            anything = self.programme.variable()
            self.downlink_s.add(anything, link.rtt_s / 2)
            for _, on in makers:
                self.programme.row({anything: 1.0, on: 1.0}, low=1.0)

    def as_soon(self, values: Any) -> dict[int, float]:
        """Variables to fix so that another choice of bits takes the same seconds and sends the same bytes."""
        problem, precision = self.problem, self.problem.precision
        fixed = {on: float(round(values[on])) for on in self.on.values()}
        for name, variable in self.integer.items():
            if precision is not None and problem.edge.of(name) != precision.integer_s(name):
                fixed[variable] = float(round(values[variable]))
        for ways in self.sent.values():
            widths = {way.part.bits for way in ways if values[way.variable] > 0.5}
            fixed |= {way.variable: 0.0 for way in ways if way.part.bits not in widths}
        return fixed

    def bits(self, values: Any) -> Bits:
        """The widths that the values choose."""
        weights = {name: b for name, found in self.weights.items() for b, v in found.items() if values[v] > 0.5}
        held = {name: b for name, found in self.held.items() for b, v in found.items() if values[v] > 0.5}
        sent = {way.part.tensor: way for ways in self.sent.values() for way in ways if values[way.variable] > 0.5}
        return Bits(weights, held, {name: way.part.bits for name, way in sent.items()})
