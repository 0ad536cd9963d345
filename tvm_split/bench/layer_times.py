"""Each kernel of the network alone: its time beside what the machine's limits allow."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from tvm_split.bench.compiled import Call
from tvm_split.bench.peaks import Limits
from tvm_split.bench.result import LayerTime
from tvm_split.bench.worker import Worker
from tvm_split.graph import Graph

REPEATS = 5
BETWEEN = "between layers"


def layer_times(kernels: Worker, graph: Graph, calls: Iterable[Call], limits: Limits) -> tuple[LayerTime, ...]:
    """Every kernel that the network calls, in the network's order, and the layers that are no kernel among them."""
    order = {layer.name: i for i, layer in enumerate(graph.layers)}
    rows: list[tuple[float, LayerTime]] = []
    known: dict[Call, float] = {}
    counted: set[str] = set()
    place = -1.0  # a kernel of no layer stays behind the layer before it
    for call in calls:
        if call not in known:
            known[call] = statistics.median(kernels.ask("seconds", call.symbol, call.types, REPEATS))
        layer = None if call.layer is None else graph.layer[call.layer]
        flops = 0 if layer is None or layer.name in counted else layer.flops
        if layer is not None:
            counted.add(layer.name)
            place = order[layer.name]
        name, op = (call.symbol, BETWEEN) if layer is None else (layer.name, layer.op)
        limit_s = limits.seconds(flops, call.size_bytes, int8=call.arithmetic.int8)
        what = call.arithmetic
        row = LayerTime(name, op, known[call], flops, limit_s, call.rule, what.int8, what.convolution)
        rows.append((place if layer else place + 0.5, row))
    for layer in graph.layers:
        if layer.name not in counted:
            rows.append((order[layer.name], LayerTime(layer.name, layer.op, None, layer.flops, None, None)))
    return tuple(row for _, row in sorted(rows, key=lambda pair: pair[0]))
