"""Refuse an ONNX model that cannot be compiled, before any work is done on it, naming every reason at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import inliner, numpy_helper
from tvm.relax.frontend.onnx import onnx_frontend

from tvm_split.errors import ModelError

STANDARD_DOMAINS = ("", "ai.onnx", "com.microsoft")
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
MAY_READ_INFINITY = {"Add", "Where", "Clip", "Min", "Max", "Pad"}
HANDLED_OUTSIDE_THE_MAP = {"If", "Constant"}


def nodes_of(graph: onnx.GraphProto, where: str = "") -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yield (path, node) for each node of `graph` and of the graphs inside If, Loop and Scan nodes."""
    for node in graph.node:
        path = where + (node.name or next(iter(node.output), "?"))
        yield path, node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from nodes_of(inner, f"{path}/{attribute.name}/")


def check_operators(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return `model` with its local functions inlined; ModelError lists every node that TVM has no converter for."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    known = set(onnx_frontend._get_convert_map()) | HANDLED_OUTSIDE_THE_MAP
    unknown = [
        f"  {node.domain + '::' if node.domain not in ('', 'ai.onnx') else ''}{node.op_type}  {path}"
        for path, node in nodes_of(model.graph)
        if node.op_type not in known or node.domain not in STANDARD_DOMAINS
    ]
    if unknown:
        raise ModelError(
            f"{name}: {len(unknown)} node(s) cannot be compiled, since TVM has no converter for their operator:\n"
            + "\n".join(unknown)
            + "\nexport the network without them (an LSTM or GRU: unrolled; QLinear operators: as QDQ)"
        )
    return model


def check_weights(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError naming each float initializer that holds NaN, or infinity where it is no bound or mask.

    A bound or a mask is an initializer that only the operators of `MAY_READ_INFINITY` read.
    """
    readers: dict[str, set[str]] = {}
    for _, node in nodes_of(model.graph):
        for source in node.input:
            readers.setdefault(source, set()).add(node.op_type)
    bad = []
    for initializer in model.graph.initializer:
        if initializer.data_type not in FLOATS:
            continue
        array = numpy_helper.to_array(initializer)
        may_be_infinite = readers.get(initializer.name, set()) <= MAY_READ_INFINITY
        wrong = np.count_nonzero(np.isnan(array) if may_be_infinite else ~np.isfinite(array))
        if wrong:
            bad.append(f"{initializer.name} ({wrong} of {array.size})")
    if bad:
        raise ModelError(
            f"{name}: NaN or infinite values in the weights {', '.join(bad)}; train again or copy the file again"
        )
