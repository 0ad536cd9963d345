"""Memory by liveness: what a half would take if its storages fitted the live tensors without a gap.

    live at a layer   what it reads and makes, what a later edge layer reads, and what crosses or is an output, once made
    network input     the caller's; where the half needs a copy of it, that is live at each layer that reads it

Never more than the storages of `arena.py`. It is a sum over tensors, which storages are not, so `exact.py` plans by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tvm_split.graph import Graph, Layer
from tvm_split.plan.arena import AS_THEY_ARE, Held, is_turned, storage


def live_bytes(
    graph: Graph,
    layers: Iterable[Layer],
    kept: Collection[str],
    returned: Collection[str],
    held: Held = AS_THEY_ARE,
) -> Iterator[int]:
    """Most bytes alive at once after each of the layers, run in this order. Arguments as `arena_bytes`; O(reads)."""
    order = tuple(layers)
    last = {name: i for i, layer in enumerate(order) for name in (*layer.outputs, *layer.inputs)}
    stays = {*kept, *returned}
    live = peak = 0
    for i, layer in enumerate(order):
        live += sum(storage(graph.tensor[name], held)[1] for name in layer.outputs)
        copies = sum(copied_bytes(graph, name, held) for name in layer.inputs if graph.producer[name] is None)
        peak = max(peak, live + copies)
        for name in dict.fromkeys((*layer.inputs, *layer.outputs)):
            if last[name] == i and graph.producer[name] is not None and name not in stays:
                live -= storage(graph.tensor[name], held)[1]
        yield peak


def copied_bytes(graph: Graph, name: str, held: Held) -> int:
    """Bytes of the copy that a half makes of a network input: quantised, or turned to channels last."""
    tensor = graph.tensor[name]
    return storage(tensor, held)[1] if name in held or is_turned(tensor) else 0
