"""Memory by liveness: what a half would take if its storages fitted the live tensors without a gap.

    live at a layer   what it reads and makes, what a later edge layer reads, and what crosses or is an output
    storages          the most that is alive at once of each dtype, added up: TVM gives a storage to one dtype only
    results           that the half returns share their bytes with nothing, so they are all added up; what they are
                      turned from lives to the end
    network input     the caller's; where the half needs a copy of it, that is live at each layer that reads it

Never more than the storages of `arena.py`. It is a sum over tensors, which storages are not, so `exact.py` plans by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from tvm_split.graph import Graph, Layer
from tvm_split.plan.arena import AS_THEY_ARE, Held, is_copied, is_stored, last_uses, storage


def live_bytes(
    graph: Graph,
    layers: Iterable[Layer],
    kept: Collection[str],
    returned: Collection[str],
    held: Held = AS_THEY_ARE,
) -> Iterator[int]:
    """Bytes that the layers so far need, run in this order. Arguments as `arena_walk`; O(layers + reads)."""
    order = tuple(layers)
    last = last_uses(order)
    live: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    results = 0
    for i, layer in enumerate(order):
        copies: Counter[str] = Counter()
        for name in layer.outputs:
            dtype, size_bytes = storage(graph.tensor[name], held)
            if name in returned:
                results += size_bytes
            if is_stored(graph.tensor[name], returned):
                live[dtype] += size_bytes
        for name in layer.inputs:
            if is_copied(graph, name, held):
                dtype, size_bytes = storage(graph.tensor[name], held)
                copies[dtype] += size_bytes
        peak |= live + copies
        for name in dict.fromkeys((*layer.inputs, *layer.outputs)):
            if last[name] == i and graph.producer[name] is not None and name not in kept and name not in returned:
                dtype, size_bytes = storage(graph.tensor[name], held)
                live[dtype] -= size_bytes
        yield peak.total() + results
