"""A bound on what TVM's storages take, whatever widths the tensors are held at.

after prefix n    the storages of any cut that holds the first n layers are at least those after these layers: they
                  never fall, and a tensor that is read later lives on, whichever side reads it
every width       each tensor's widths are tried in the layers' order; what has the same storages, free and in use, is
                  one state. Of too many states the largest are dropped, and the smallest of those bounds the rest

Live tensors are a bound too, but TVM's storages take about 1.5 times as much: these two differ by little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tvm_split.graph import DTYPE_BITS, Graph
from tvm_split.plan.arena import Arena, is_copied, last_uses, storage
from tvm_split.plan.programme import INF

#: states that are kept after each layer
STATES = 64


class _State:
    """Storages after some layers: the arena, and which storage each tensor in use has."""

    def __init__(self, arena: Arena, used: dict[str, tuple[str, int]]) -> None:
        self.arena = arena
        self.used = used

    def copy(self) -> _State:
        return _State(self.arena.copy(), dict(self.used))

    def take(self, name: str, dtype: str, size_bytes: int) -> None:
        self.used[name] = dtype, self.arena.take(dtype, size_bytes)

    def give(self, name: str) -> None:
        if name in self.used:
            self.arena.give(*self.used.pop(name))

    def key(self) -> Any:
        return self.arena.key(), tuple(sorted(self.used.items()))


def least_storages(
    graph: Graph, widths: Mapping[str, tuple[int, ...]], returned: frozenset[str], states: int = STATES
) -> list[int]:
    """For 0, 1, ... layers: bytes that their storages take at least, results (`returned`) aside. It never falls.

    widths: those that each tensor may be held at, as `Choices.held`. O(layers * states * widths).
    """
    last = last_uses(graph.layers)
    least, found = 0, [0]
    kept, dropped = [_State(Arena(), {})], INF
    read: set[str] = set()
    for i, layer in enumerate(graph.layers):
        copies = [name for name in dict.fromkeys(layer.inputs) if graph.producer[name] is None and name not in read]
        read.update(copies)
        for name in (*copies, *(name for name in layer.outputs if name not in returned)):
            kept = [state for before in kept for state in _held(before, graph, name, widths[name])]
        for name in dict.fromkeys((*layer.inputs, *layer.outputs)):
            if last[name] == i and name not in graph.outputs:
                for state in kept:
                    state.give(name)
        if not kept:  # no width is left of a tensor, so that no cut holds this layer
            return found + [least] * (len(graph.layers) + 1 - len(found))
        kept = sorted({state.key(): state for state in kept}.values(), key=lambda state: state.arena.size_bytes)
        dropped = min([dropped, *(state.arena.size_bytes for state in kept[states : states + 1])])
        kept = kept[:states]
        least = max(least, int(min(kept[0].arena.size_bytes, dropped)))
        found.append(least)
    return found


def _held(state: _State, graph: Graph, name: str, widths: tuple[int, ...]) -> Iterator[_State]:
    """The state with the tensor in a storage, at each of its widths. A network input that stays as it is has none."""
    tensor = graph.tensor[name]
    for bits in widths:
        held = {name: bits} if bits < DTYPE_BITS[tensor.dtype] else {}
        then = state.copy() if len(widths) > 1 else state
        if graph.producer[name] is not None or is_copied(graph, name, held):
            then.take(name, *storage(tensor, held))
        yield then
