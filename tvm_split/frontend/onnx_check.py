"""Refuse an ONNX model that cannot be compiled, before any work is done on it, naming every reason at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper
from tvm.relax.frontend.onnx import onnx_frontend

from tvm_split.errors import ModelError, last_line

STANDARD_DOMAINS = ("", "ai.onnx", "com.microsoft")
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
# Bounds and masks, what moves them about, and what compares with them.
MAY_READ_INFINITY = set(
    "Add Where Clip Min Max Pad Equal Greater GreaterOrEqual Less LessOrEqual "
    "Cast Concat Expand Gather Identity Reshape Slice Squeeze Tile Transpose Trilu Unsqueeze".split()
)
SHAPE_FROM_DATA = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}
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


def check_weights(model: onnx.ModelProto, name: str, *, folded: bool = False) -> None:
    """Raise ModelError naming each constant that is damaged or holds NaN and, once `folded`, one that holds infinity.

    Constants are initializers, Constant nodes and the numbers among other nodes' attributes. Infinity is for bounds and
    masks, which the operators of `MAY_READ_INFINITY` read; before folding, other nodes may stand between. A negative
    variance of a batch normalisation counts as the NaN that its root is.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    variances: dict[str, float] = {}
    for _, node in nodes_of(model.graph):
        for source in node.input:
            readers.setdefault(source, []).append(node)
        if node.op_type == "BatchNormalization" and len(node.input) > 4:
            variances[node.input[4]] = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    bad = []
    for called, array, read_by in _constants(model, name):
        reading = readers.get(read_by, [])
        if read_by in variances:  # its root is what the network multiplies with
            with np.errstate(invalid="ignore"):
                array = np.sqrt(array + variances[read_by])
        finite = folded and not (read_by and {node.op_type for node in reading} <= MAY_READ_INFINITY)
        wrong = int(np.count_nonzero(~np.isfinite(array) if finite else np.isnan(array)))
        if wrong:
            first = f", read by {reading[0].name or reading[0].op_type}" if reading else ""
            bad.append(f"{called} ({wrong} of {array.size}{first})")
    if bad:
        raise ModelError(
            f"{name}: NaN or infinite values in the weights {', '.join(bad)}; train again, or copy the file again"
        )


def check_quantizers(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError naming each constant of 4 bits, and each QuantizeLinear of a folded model with a scale of 0."""
    small = [tensor.name for tensor in model.graph.initializer if tensor.data_type in FOUR_BITS]
    if small:
        raise ModelError(
            f"{name}: TVM cannot read the 4-bit constants {', '.join(small)}; quantise the network to int8 instead"
        )
    zero = {
        tensor.name for tensor in model.graph.initializer
        if tensor.data_type in FLOATS and not np.all(_array(tensor, f"{name}: the weight {tensor.name!r}"))
    }  # fmt: skip
    found = [
        path for path, node in nodes_of(model.graph)
        if node.op_type == "QuantizeLinear" and len(node.input) > 1 and node.input[1] in zero
    ]  # fmt: skip
    if found:
        raise ModelError(
            f"{name}: the scale of {', '.join(found)} is 0; quantise again, with data that are not constant"
        )


def _constants(model: onnx.ModelProto, name: str) -> Iterator[tuple[str, np.ndarray[Any, Any], str]]:
    """Yield (what to call it, values, the tensor that holds them: '' for a plain attribute) for each float constant."""
    for initializer in model.graph.initializer:
        array = _array(initializer, f"{name}: the weight {initializer.name!r}")
        if initializer.data_type in FLOATS:
            yield initializer.name, array, initializer.name
    for path, node in nodes_of(model.graph):
        tensor = node.output[0] if node.op_type in ("Constant", "ConstantOfShape") and node.output else ""
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute) if attribute.type != onnx.AttributeProto.UNDEFINED else None
            called = f"{attribute.name} of {path}"
            if isinstance(value, onnx.TensorProto):
                array = _array(value, f"{name}: the attribute {called}")
                if value.data_type in FLOATS:
                    yield called, array, tensor
            elif attribute.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.FLOATS):
                yield called, np.atleast_1d(np.asarray(value, np.float32)), tensor


def _array(tensor: onnx.TensorProto, called: str) -> np.ndarray[Any, Any]:
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # onnx and numpy raise some five unrelated kinds on a tensor that contradicts itself
        shape = "x".join(map(str, tensor.dims)) or "scalar"
        raise ModelError(
            f"{called} is damaged: its values do not fill its shape {shape} or are of no known type "
            f"({last_line(error)}); copy the file again or export it again"
        ) from error


def check_static(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError naming the nodes of a folded model after which nothing has a shape that is known beforehand."""
    branches = [path for path, node in nodes_of(model.graph) if node.op_type == "If"]
    if branches:
        raise ModelError(
            f"{name}: the branches {', '.join(branches)} depend on the data; export the network without If nodes"
        )
    found = [f"  {node.op_type}  {path}" for path, node in nodes_of(model.graph) if node.op_type in SHAPE_FROM_DATA]
    if found:
        raise ModelError(
            f"{name}: {len(found)} node(s) give tensors whose shape depends on the data; only fixed shapes compile:\n"
            + "\n".join(found)
            + "\nexport the network without them and do their work on its outputs"
        )
