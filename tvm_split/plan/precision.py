"""What a planner knows of bits: which widths there are, what each costs in accuracy, and what integers are worth.

weights       of a layer, at b bits: 8 bits and less packed densely (a byte each, where its data are floats), beside
              what the layer's kernel stores for its channels (as compiled: `integer_layers`; else a float32 scale,
              and the offset in the bias' place);
              16 a float16 an element; 32 as they are. What is not the matrix (bias) stays
held tensor   at 8 bits and less one byte an element, at 16 two, else as it is: activations are computed at 8 or 16
distortion    D_w(b) and D_a(b) of the paper (KDD 2021, 5b), or any other measure of error that adds up over layers
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any

from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer

VERSION = 3

#: bits that a layer's weights or a held tensor may have; 32 is no quantisation, whatever the dtype
EDGE_WIDTHS = (2, 3, 4, 6, 8, 16, 32)
#: the widest that integer kernels compute with
INTEGER_BITS = 8
#: of a float16, which cannot hold every float32: a table of distortions without it says so
HALF_BITS = 16
#: bytes beside the packed weights of one output channel, where no kernel is known: a float32 scale
CHANNEL_BYTES = 4


@dataclass(frozen=True, slots=True)
class IntegerLayer:
    """What a layer on 8-bit integers takes, as compiled: its weights' codes, its other constants, its scratch.

    packed_scratch_bytes: scratch where the weights have fewer bits and the kernel decodes them; None for the same.
    """

    codes_bytes: int
    other_bytes: int
    scratch_bytes: int
    packed_scratch_bytes: int | None = None


@dataclass(frozen=True)
class Precision:
    """Precisions that the edge may choose from. PlanError when a number is missing, or is none.

    widths: the edge's bit set, ascending, of EDGE_WIDTHS.
    weight_matrix: layer -> (output channels, float32 elements of each) of its quantisable weights.
    weight_distortion: layer -> {bits: what its weights at that width add to the distortion}, for each width below 32.
        A layer without an entry has no weights to quantise: they stay as they are. Without 16, they cannot have it.
    tensor_distortion: float tensor -> {bits: what the tensor at that width adds}, for each width below 32, of `widths`
        and of those it may cross at. A narrower width counts at least what a wider one does. A tensor without an
        entry stays as it is; so do network outputs, but where they cross. A network input with an entry may be
        quantised on arrival. Without 16, float16 cannot hold the tensor.
    integer: edge seconds of each layer computed on integers, which it is when its quantisable weights have at most 8
        bits and every float tensor that it reads is held at most at 8; None when the edge computes floats only.
    integer_layers: what layers take on integers, as compiled for the edge; without those that are not known.
    fixed: name -> bits. A layer's name fixes its weights, a tensor's the width that it is held at; a layer and its only
        tensor share a name, and both are fixed. It may be a width that the others do not have.
    max_distortion: limit of the sum over edge layers and crossing tensors, in the unit of the distortions.
    """

    widths: tuple[int, ...]
    weight_matrix: Mapping[str, tuple[int, int]]
    weight_distortion: Mapping[str, Mapping[int, float]]
    tensor_distortion: Mapping[str, Mapping[int, float]]
    integer: Costs | None = None
    integer_layers: Mapping[str, IntegerLayer] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    max_distortion: float | None = None

    def __post_init__(self) -> None:
        known = ", ".join(map(str, EDGE_WIDTHS))
        if not self.widths or list(self.widths) != sorted(set(self.widths)) or not {*self.widths} <= {*EDGE_WIDTHS}:
            raise PlanError(f"the edge's widths are {list(self.widths)}; expected some of {known}, ascending")
        for what, table in (("weights of layer", self.weight_distortion), ("tensor", self.tensor_distortion)):
            for name, found in table.items():
                _check_table(f"{what} '{name}'", found, self.widths)
        for name in self.weight_distortion:
            if name not in self.weight_matrix:
                raise PlanError(f"layer '{name}' has a weight_distortion, but its weight_matrix is not known")
        for name, bits in self.fixed.items():
            if bits not in EDGE_WIDTHS:
                raise PlanError(f"'{name}' is fixed to {bits} bits, which no edge has; the widths are {known}")
            of_name = [table[name] for table in (self.weight_distortion, self.tensor_distortion) if name in table]
            if of_name and bits == HALF_BITS and any(bits not in each for each in of_name):
                raise PlanError(f"'{name}' is fixed to 16 bits, but has numbers that float16 cannot hold; fix it to 32")
            if bits < EDGE_WIDTHS[-1] and not (of_name and all(bits in each for each in of_name)):
                raise PlanError(
                    f"'{name}' is fixed to {bits} bits, but it is no layer with quantisable weights and no tensor "
                    "whose distortion is known at that width; fix it to 32, or calibrate it"
                )
        limit = self.max_distortion
        if limit is not None and not limit >= 0:
            raise PlanError(f"max_distortion is {limit}; expected a number that is not negative, or None for no limit")

    def check(self, graph: Graph) -> None:
        """PlanError when this is not of the graph: a name that it lacks, more weights than a layer has; CostError when
        a layer has no cost on integers."""
        for name in self.weight_distortion:
            if name not in graph.layer:
                raise PlanError(f"weight_distortion names '{name}', but graph '{graph.name}' has no such layer")
            channels, each = self.weight_matrix[name]
            most = graph.layer[name].weight_bytes - graph.layer[name].winograd_bytes
            if not 0 <= 4 * channels * each <= most:
                raise PlanError(
                    f"weight_matrix of layer '{name}' is {channels} x {each} elements, which are more float32 than the "
                    f"{most} bytes of constants that it has"
                )
        for name in self.tensor_distortion:
            if name not in graph.tensor or not graph.tensor[name].is_float:
                raise PlanError(f"tensor_distortion names '{name}', but graph '{graph.name}' has no such float tensor")
        for layer in graph.layers if self.integer is not None else ():
            self.integer_s(layer.name)

    def integer_s(self, layer: str) -> float:
        """Edge seconds of a layer on integers; infinity when the edge has none. CostError when it is not known."""
        return math.inf if self.integer is None else self.integer.of(layer)

    def weight_options(self, layer: str) -> tuple[int, ...]:
        """Widths that the layer's weights may have, ascending; () when it has none to quantise."""
        if layer not in self.weight_distortion:
            return ()
        if layer in self.fixed:
            return (self.fixed[layer],)
        return tuple(bits for bits in self.widths if self._has(self.weight_distortion[layer], bits))

    def tensor_widths(self, tensor: str, widths: Iterable[int]) -> list[int]:
        """Those of the widths that a tensor with a distortion may have."""
        return [bits for bits in widths if self._has(self.tensor_distortion[tensor], bits)]

    @staticmethod
    def _has(table: Mapping[int, float], bits: int) -> bool:
        return bits != HALF_BITS or bits in table

    def weight_bytes(self, layer: Layer, bits: int, on_integers: bool = True) -> int:
        """What the layer's constants take with their matrix at this width; codes of fewer than 8 bits take a byte where
        the layer is not computed on integers."""
        if not on_integers and bits < INTEGER_BITS:
            bits = INTEGER_BITS
        known = self.integer_layers.get(layer.name) if on_integers else None
        if layer.name not in self.weight_distortion:
            return layer.weight_bytes if known is None else known.codes_bytes + known.other_bytes
        if bits >= EDGE_WIDTHS[-1]:
            return layer.weight_bytes
        channels, each = self.weight_matrix[layer.name]
        elements = channels * each
        packed = -(-elements * bits // 8)
        if known is not None and bits <= INTEGER_BITS:
            return known.other_bytes + (known.codes_bytes if bits == INTEGER_BITS else packed)
        packed += CHANNEL_BYTES * channels if bits <= INTEGER_BITS else 0
        return layer.weight_bytes - layer.winograd_bytes - 4 * elements + packed

    def scratch_bytes(self, layer: Layer, on_integers: bool, bits: int = INTEGER_BITS) -> int:
        """Of the layer's kernel, on floats or on integers; and there of weights at so many bits."""
        known = self.integer_layers.get(layer.name) if on_integers else None
        if known is None:
            return layer.scratch_bytes
        packed = known.packed_scratch_bytes
        return packed if bits < INTEGER_BITS and packed is not None else known.scratch_bytes

    def of_weights(self, layer: str, bits: int) -> float:
        """Distortion of a layer's weights. PlanError when it is not known."""
        return 0.0 if bits >= EDGE_WIDTHS[-1] else _known(self.weight_distortion, "weights of layer", layer, bits)

    def of_tensor(self, tensor: str, bits: int) -> float:
        """Distortion of a tensor below its own width. PlanError when it is not known."""
        return _known(self._rising, "tensor", tensor, bits)

    @cached_property
    def _rising(self) -> dict[str, dict[int, float]]:
        """tensor_distortion, each width with the most of any width from it on: less at fewer bits is noise."""
        found = {}
        for name, table in self.tensor_distortion.items():
            most, rising = 0.0, {}
            for bits in sorted(table, reverse=True):
                most = rising[bits] = max(most, table[bits])
            found[name] = rising
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "widths": list(self.widths),
            "weight_matrix": {name: list(shape) for name, shape in self.weight_matrix.items()},
            "weight_distortion": _as_json(self.weight_distortion),
            "tensor_distortion": _as_json(self.tensor_distortion),
            "integer": None if self.integer is None else self.integer.to_json(),
            "integer_layers": {name: astuple(each) for name, each in self.integer_layers.items()},
            "fixed": dict(self.fixed),
            "max_distortion": self.max_distortion,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Precision:
        """PlanError for another version."""
        if data.get("version") != VERSION:
            raise PlanError(
                f"this precision has version {data.get('version')!r}; this tvm-split reads version {VERSION}"
            )
        return cls(
            widths=tuple(data["widths"]),
            weight_matrix={name: (rows, columns) for name, (rows, columns) in data["weight_matrix"].items()},
            weight_distortion=_of_json(data["weight_distortion"]),
            tensor_distortion=_of_json(data["tensor_distortion"]),
            integer=None if data["integer"] is None else Costs.from_json(data["integer"]),
            integer_layers={name: IntegerLayer(*sizes) for name, sizes in data["integer_layers"].items()},
            fixed=dict(data["fixed"]),
            max_distortion=data["max_distortion"],
        )


def _known(tables: Mapping[str, Mapping[int, float]], what: str, name: str, bits: int) -> float:
    try:
        return tables[name][bits]
    except KeyError:
        raise PlanError(f"the distortion of {what} '{name}' at {bits} bits is not known; calibrate it") from None


def _check_table(what: str, table: Mapping[int, float], widths: tuple[int, ...]) -> None:
    missing = [bits for bits in widths if bits < EDGE_WIDTHS[-1] and bits not in table and bits != HALF_BITS]
    if missing:
        raise PlanError(f"the distortion of {what} at {missing[0]} bits is not known; calibrate it at each of {widths}")
    for bits, value in table.items():
        if not (value >= 0 and math.isfinite(value)):
            raise PlanError(
                f"the distortion of {what} at {bits} bits is {value}; expected a number that is not negative"
            )


def _as_json(tables: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, float]]:
    return {name: {str(bits): value for bits, value in table.items()} for name, table in tables.items()}


def _of_json(tables: Mapping[str, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    return {name: {int(bits): value for bits, value in table.items()} for name, table in tables.items()}
