"""The network as planners see it: layers, tensors and who reads what. Frozen, checked, no weights, no TVM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tvm_split.errors import GraphError

VERSION = 3

#: bits of one element of each dtype that a tensor may have
DTYPE_BITS = {
    "bool": 8, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "float16": 16, "bfloat16": 16,
    "int32": 32, "uint32": 32, "float32": 32, "int64": 64, "uint64": 64, "float64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value with a static shape."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BITS:
            raise GraphError(f"tensor '{self.name}' has dtype '{self.dtype}'; known are {', '.join(DTYPE_BITS)}")
        if any(extent < 0 for extent in self.shape):
            raise GraphError(f"tensor '{self.name}' has shape {self.shape}; extents must be known and not negative")

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def size_bytes(self) -> int:
        return self.elements * DTYPE_BITS[self.dtype] // 8


@dataclass(frozen=True, slots=True)
class Layer:
    """One fused node. `flops` counts a multiply-add as two; `weight_bytes` is what its constants take as stored, and
    `winograd_bytes` what of that Winograd's algorithm adds, which integer kernels do without.

    `scratch_bytes` is what it takes, compiled for one target, while it runs beside what it reads and writes
    (`scratch.with_scratch`).
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: int = 0
    weight_bytes: int = 0
    scratch_bytes: int = 0
    winograd_bytes: int = 0


@dataclass(frozen=True)
class Graph:
    """Layers in a topological order, the tensors they make, and the network's inputs and outputs.

    Raises GraphError when a name is double, a tensor is read before it is made, or an output is made by nothing.
    A tensor may be read by many layers and be a network output as well. Two outputs may name the same tensor.
    file_names: what the model's file calls the inputs, in their order; () where that is nothing else.
    """

    name: str
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    file_names: tuple[str, ...] = ()
    _index: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        known = [tensor.name for tensor in self.tensors]
        if len(set(known)) != len(known):
            raise GraphError(f"graph '{self.name}' has two tensors named '{_first_double(known)}'")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise GraphError(f"graph '{self.name}' has two layers named '{_first_double(names)}'")
        if len(set(self.inputs)) != len(self.inputs):
            raise GraphError(f"graph '{self.name}' has two inputs named '{_first_double(self.inputs)}'")
        if len(self.file_names) not in (0, len(self.inputs)):
            raise GraphError(f"graph '{self.name}' has {len(self.inputs)} inputs but file_names {self.file_names}")
        made = set(self.inputs)
        tensor_names = set(known)
        for layer in self.layers:
            missing = [name for name in layer.inputs if name not in made]
            if missing:
                raise GraphError(f"layer '{layer.name}' reads {missing}, which no earlier layer makes")
            for name in layer.outputs:
                if name in made:
                    raise GraphError(f"layer '{layer.name}' makes '{name}', which is made already")
                made.add(name)
        for name in (*made, *self.outputs):
            if name not in tensor_names:
                raise GraphError(f"'{name}' is an input or output in graph '{self.name}', but not in its tensors")
        absent = [name for name in self.outputs if name not in made]
        if absent:
            raise GraphError(f"outputs {absent} of graph '{self.name}' are made by no layer")
        self._index.update((name, i) for i, name in enumerate(names))

    @cached_property
    def tensor(self) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def layer(self) -> Mapping[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def producer(self) -> Mapping[str, str | None]:
        """Name of the layer that makes each tensor; None for a network input."""
        made: dict[str, str | None] = dict.fromkeys(self.inputs)
        made.update((name, layer.name) for layer in self.layers for name in layer.outputs)
        return made

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the layers that read each tensor, in topological order, each once."""
        readers: dict[str, list[str]] = {tensor.name: [] for tensor in self.tensors}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                readers[name].append(layer.name)
        return {name: tuple(found) for name, found in readers.items()}

    def position(self, layer: str) -> int:
        """Index of the layer in topological order; GraphError when there is none of that name."""
        try:
            return self._index[layer]
        except KeyError:
            raise GraphError(f"graph '{self.name}' has no layer '{layer}'") from None

    def predecessors(self, layer: str) -> tuple[str, ...]:
        made_by = (self.producer[name] for name in self.layer[layer].inputs)
        return tuple(dict.fromkeys(name for name in made_by if name is not None))

    def closure(self, layers: Iterable[str]) -> frozenset[str]:
        """The layers and all that they need: the smallest legal cut with them on the edge."""
        found: set[str] = set()
        waiting = list(layers)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self.predecessors(name))
        return frozenset(found)

    def is_legal_cut(self, edge: Iterable[str]) -> bool:
        """Whether the set is downward closed: no edge layer reads what a cloud layer makes."""
        chosen = frozenset(edge)
        return all(self.position(name) >= 0 and chosen.issuperset(self.predecessors(name)) for name in chosen)

    def check_cut(self, edge: Iterable[str]) -> frozenset[str]:
        """Return the cut as a set; GraphError names the first layer that reads from the cloud."""
        chosen = frozenset(edge)
        for name in sorted(chosen, key=self.position):
            for before in self.predecessors(name):
                if before not in chosen:
                    raise GraphError(
                        f"layer '{name}' is on the edge but reads from '{before}' in the cloud; "
                        "a cut must be downward closed"
                    )
        return chosen

    def crossing(self, edge: Iterable[str], result_at_cloud: bool = False) -> tuple[str, ...]:
        """Tensors made on the edge (or network inputs) that a cloud layer reads, in order of `tensors`.

        With `result_at_cloud`, network outputs made on the edge cross as well; without, an output that is a network
        input stays where it is.
        """
        chosen = frozenset(edge)
        found = set()
        for tensor in self.tensors:
            maker = self.producer.get(tensor.name)
            if maker is not None and maker not in chosen:
                continue
            if any(reader not in chosen for reader in self.readers[tensor.name]):
                found.add(tensor.name)
            elif result_at_cloud and tensor.name in self.outputs:
                found.add(tensor.name)
        return tuple(tensor.name for tensor in self.tensors if tensor.name in found)

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "name": self.name,
            "inputs": list(self.inputs),
            **({"file_names": list(self.file_names)} if self.file_names else {}),
            "outputs": list(self.outputs),
            "tensors": [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype} for t in self.tensors],
            "layers": [
                {
                    "name": layer.name, "op": layer.op, "inputs": list(layer.inputs), "outputs": list(layer.outputs),
                    "flops": layer.flops, "weight_bytes": layer.weight_bytes,
                    "scratch_bytes": layer.scratch_bytes, "winograd_bytes": layer.winograd_bytes,
                }
                for layer in self.layers
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        if data.get("version") != VERSION:
            raise GraphError(f"this graph has version {data.get('version')!r}; this tvm-split reads version {VERSION}")
        return cls(
            name=data["name"],
            tensors=tuple(Tensor(t["name"], tuple(t["shape"]), t["dtype"]) for t in data["tensors"]),
            layers=tuple(
                Layer(
                    name=x["name"],
                    op=x["op"],
                    inputs=tuple(x["inputs"]),
                    outputs=tuple(x["outputs"]),
                    flops=x["flops"],
                    weight_bytes=x["weight_bytes"],
                    scratch_bytes=x["scratch_bytes"],
                    winograd_bytes=x["winograd_bytes"],
                )
                for x in data["layers"]
            ),
            inputs=tuple(data["inputs"]),
            outputs=tuple(data["outputs"]),
            file_names=tuple(data.get("file_names", ())),
        )


def _first_double(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no double name")
