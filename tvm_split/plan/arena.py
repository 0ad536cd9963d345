"""The storages of a half: how TVM plans, before anything runs, which tensors use the same bytes after each other.

    take(bytes):  the smallest free storage that is large enough, up to RANGE times the tensor;
                  else the largest free one, grown, if the tensor has at most RANGE times its bytes;
                  else a new one
    give(bytes):  the storage is free for tensors of the same dtype

This is what relax.transform.StaticPlanBlockMemory does, and the virtual machine keeps every storage once it has it. So
the sum of the storages is what a half takes, about 1.5 times the live tensors at their peak in a network of 50 layers.
A plan made in the layers' order never looks ahead: prefix n's storages are those of the whole network after n layers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tvm_split.graph import DTYPE_BITS, Graph, Layer, Tensor

#: a storage and the tensor put into it may differ by this factor (TokenAllocator1D's match_range_)
RANGE = 16

#: tensor -> bits it is held at, where that is less than its own
Held = Mapping[str, int]
AS_THEY_ARE: Held = MappingProxyType({})


class Arena:
    """Storages by dtype. `size_bytes` is the sum of all, free or not; it never falls."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._free: dict[str, list[int]] = {}

    def take(self, dtype: str, size_bytes: int) -> int:
        """Put a tensor into a storage; return the storage's bytes, to give back. O(free storages)."""
        free = self._free.setdefault(dtype, [])
        at = bisect_left(free, size_bytes)
        if at < len(free) and free[at] <= size_bytes * RANGE:
            return free.pop(at)
        if at and free[at - 1] >= size_bytes // RANGE:
            self.size_bytes -= free.pop(at - 1)
        self.size_bytes += size_bytes
        return size_bytes

    def give(self, dtype: str, storage_bytes: int) -> None:
        insort(self._free[dtype], storage_bytes)

    def copy(self) -> Arena:
        other = Arena()
        other.size_bytes = self.size_bytes
        other._free = {dtype: list(sizes) for dtype, sizes in self._free.items()}
        return other

    def key(self) -> tuple[object, ...]:
        """What two arenas share that go on alike."""
        return self.size_bytes, *((dtype, *sizes) for dtype, sizes in sorted(self._free.items()) if sizes)


def is_turned(tensor: Tensor) -> bool:
    """Whether a half holds the tensor channels last (passes/channels_last.py), so that it is turned where it comes in
    and goes out. An upper bound: a network may have that layout from the start."""
    return len(tensor.shape) == 4 and tensor.is_float and tensor.shape[1] > 1 and tensor.shape[2] * tensor.shape[3] > 1


def is_stored(tensor: Tensor, returned: Collection[str]) -> bool:
    """Whether a tensor that a layer makes has a storage: a result has none, but where it is turned into the network's
    layout at the end."""
    return tensor.name not in returned or is_turned(tensor)


def storage_bits(tensor: Tensor, held: Held) -> int:
    """Bits that an element of the tensor takes in its storage: a byte for all that is held at 8 bits and less."""
    return max(8, held[tensor.name]) if tensor.name in held else DTYPE_BITS[tensor.dtype]


def storage(tensor: Tensor, held: Held) -> tuple[str, int]:
    """dtype and bytes of the storage that the tensor needs."""
    if tensor.name not in held:
        return tensor.dtype, tensor.size_bytes
    bits = storage_bits(tensor, held)
    return ("uint8" if bits == 8 else "float16"), tensor.elements * bits // 8


def is_copied(graph: Graph, name: str, held: Held) -> bool:
    """Whether a half makes a copy of this tensor because it is a network input: quantised, or channels last."""
    return graph.producer[name] is None and (name in held or is_turned(graph.tensor[name]))


def last_uses(layers: Sequence[Layer]) -> dict[str, int]:
    """Number of the last of the layers that makes or reads each tensor."""
    return {name: i for i, layer in enumerate(layers) for name in (*layer.outputs, *layer.inputs)}


@dataclass(frozen=True, slots=True)
class Stored:
    """Storages after some layers. `arena` and `used`, the storage of each tensor that is in one, change as more run."""

    arena: Arena
    used: dict[str, tuple[str, int]]
    results: int

    @property
    def size_bytes(self) -> int:
        return self.arena.size_bytes + self.results


def arena_walk(
    graph: Graph,
    layers: Iterable[Layer],
    kept: Collection[str],
    returned: Collection[str],
    held: Held = AS_THEY_ARE,
) -> Iterator[Stored]:
    """The storages after each of the layers, run in this order.

    Tensors in `kept` live to the end. Those in `returned` are the half's results, which share their bytes with nothing.
    A network input has no storage, the caller holds it; but one that is held channels last is turned into one, and one
    that is held at fewer bits is quantised into one. O(layers + reads).
    """
    order = tuple(layers)
    last = last_uses(order)
    arena, results = Arena(), 0
    used: dict[str, tuple[str, int]] = {}
    copied = {name for name in graph.inputs if is_copied(graph, name, held)}

    def take(tensor: Tensor) -> None:
        dtype, size_bytes = storage(tensor, held)
        used[tensor.name] = dtype, arena.take(dtype, size_bytes)

    for i, layer in enumerate(order):
        for name in copied.intersection(layer.inputs) - used.keys():
            take(graph.tensor[name])
        for name in layer.outputs:
            tensor = graph.tensor[name]
            if name in returned:
                results += tensor.size_bytes
            if is_stored(tensor, returned):
                take(tensor)
        for name in dict.fromkeys((*layer.inputs, *layer.outputs)):
            if last[name] == i and name in used and name not in kept and name not in returned:
                arena.give(*used.pop(name))
        yield Stored(arena, used, results)
