"""What an edge half makes of the tensors that cross, between its layers and the payload.

    quantised    an integer of each element, a uint8 or uint16, where a tensor is sent narrower than it is held; first
                 all of them, in the payload's order
    turned       into the network's own layout, where the half keeps channels last; then all of these
    payload      what pack makes of them. One tensor alone at 8 bits: its last copy is the payload, or itself, if it is
                 uint8 and needs none; TVM turns pack into a view
    scratch      of pack, when several tensors cross: each one's bytes, before it puts them into one row

The copies lie in storages as the layers' tensors do, and a copy's storage is free once it was copied again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tvm_split.graph import Graph
from tvm_split.plan.arena import AS_THEY_ARE, Arena, Held, is_turned, storage, storage_bits
from tvm_split.plan.problem import Crossing


def packed_elements(graph: Graph, crossing: Iterable[str]) -> int:
    """Elements that are packed on the edge, and unpacked in the cloud, when these tensors cross: each once, however
    many read it. A network input's do not count: it is sent as it came."""
    return sum(graph.tensor[name].elements for name in crossing if graph.producer[name] is not None)


@dataclass(frozen=True, slots=True)
class Copy:
    """One tensor, or what became of it, once more. quantised: else it is turned."""

    tensor: str
    dtype: str
    size_bytes: int
    quantised: bool


def copies_of(graph: Graph, crossing: Collection[Crossing], held: Held = AS_THEY_ARE) -> tuple[Copy, ...]:
    """The copies in the order in which the half makes them, but for one that is the payload. `crossing`: in order."""
    every = [copy for part in crossing for copy in copies_of_one(graph, part, held)]
    found = tuple(sorted(every, key=lambda copy: not copy.quantised))
    alone = [part.bits for part in crossing] == [8]
    return found[:-1] if alone else found


def copies_of_one(graph: Graph, part: Crossing, held: Held = AS_THEY_ARE) -> list[Copy]:
    """The copies of a tensor that does not cross alone."""
    tensor, found = graph.tensor[part.tensor], []
    is_made = graph.producer[tensor.name] is not None
    here = held if is_made else AS_THEY_ARE
    dtype, size_bytes = storage(tensor, here)
    if part.bits != storage_bits(tensor, here):
        width = 1 if part.bits <= 8 else 2
        dtype, size_bytes = f"uint{8 * width}", tensor.elements * width
        found.append(Copy(tensor.name, dtype, size_bytes, True))
    if is_made and is_turned(tensor):
        found.append(Copy(tensor.name, dtype, size_bytes, False))
    return found


def payload_of(graph: Graph, crossing: Collection[Crossing], held: Held = AS_THEY_ARE) -> tuple[int, int]:
    """Bytes of the payload beside the tensors in storages, and scratch of pack."""
    total = sum(part.size_bytes for part in crossing)
    if len(crossing) != 1:
        return total, total
    (part,) = crossing
    return (0 if is_view(graph, part, held) else total), 0


def is_view(graph: Graph, part: Crossing, held: Held = AS_THEY_ARE) -> bool:
    """Whether the tensor, alone, is its own payload: bytes already, in the network's layout."""
    tensor = graph.tensor[part.tensor]
    is_made = graph.producer[tensor.name] is not None
    dtype, _ = storage(tensor, held if is_made else AS_THEY_ARE)
    return part.bits == 8 and dtype == "uint8" and not (is_made and is_turned(tensor))


def place(arena: Arena, used: Mapping[str, tuple[str, int]], copies: Iterable[Copy]) -> None:
    """Put the copies into storages. used: the storage of each tensor that is still in one, which its copy frees."""
    last = dict(used)
    for copy in copies:
        taken = copy.dtype, arena.take(copy.dtype, copy.size_bytes)
        if copy.tensor in last:
            arena.give(*last[copy.tensor])
        last[copy.tensor] = taken
