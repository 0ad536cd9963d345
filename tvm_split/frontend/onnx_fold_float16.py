"""Fold the constants of a float16 ONNX model node by node; onnxruntime would make its layers float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tvm_split.frontend.onnx_check import nodes_of
from tvm_split.frontend.onnx_fold import name_nodes, tidy

Array = np.ndarray[Any, Any]

FLOAT16 = onnx.TensorProto.FLOAT16
NOT_FOLDED = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"} | {
    "QuantizeLinear",  # weights stay in 8 bits
    "DequantizeLinear",
}


def has_float16(model: onnx.ModelProto) -> bool:
    """Say whether an input, a weight or a constant of `model` is float16, or a node makes one of something else."""
    graph = model.graph
    if any(value.type.tensor_type.elem_type == FLOAT16 for value in graph.input):
        return True
    if any(weight.data_type == FLOAT16 for weight in graph.initializer):
        return True
    return any(
        (attribute.name == "to" and attribute.i == FLOAT16) or attribute.t.data_type == FLOAT16
        for _, node in nodes_of(graph)
        for attribute in node.attribute
    )


def fold_by_node(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` in which what follows from weights and shapes alone is a weight.

    Given:   s = Shape(x);  t = Concat(Gather(s, 0), -1);  y = Reshape(x, t)       x: (1, 3, 8, 8)
    Result:  y = Reshape(x, t)      t = [1, -1], a weight

    Each node is evaluated by itself with onnx's own evaluator, in the types it is written in; one that the evaluator
    refuses stays. O(nodes) for each time that a folded shape makes more shapes known. onnx raises InferenceError where
    the model contradicts itself, ValueError where it is larger than 2 GB.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    name_nodes(graph)
    constants = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    opsets = list(copy.opset_import)
    while True:
        inferred = onnx.shape_inference.infer_shapes(copy, strict_mode=True, data_prop=True).graph
        shapes = _shapes(inferred)
        kept = []
        for node in graph.node:
            results = _evaluated(node, constants, shapes, opsets)
            if results is None:
                kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
                continue
            for output, array in zip(node.output, results, strict=True):
                constants[output] = array
                graph.initializer.append(numpy_helper.from_array(array, output))
        done = len(kept) == len(graph.node)
        del graph.node[:]
        graph.node.extend(kept)
        if done:
            break
    _bound_in_float16(graph, inferred, constants)
    tidy(copy)
    read = {source for _, node in nodes_of(graph) for source in node.input} | {value.name for value in graph.output}
    weights = [onnx.TensorProto.FromString(w.SerializeToString()) for w in graph.initializer if w.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    return copy


def _bound_in_float16(graph: onnx.GraphProto, inferred: onnx.GraphProto, constants: Mapping[str, Array]) -> None:
    """Make the bounds of each Clip of a float16 tensor float16: onnx writes float32 when it raises the opset."""
    half = {
        value.name for value in [*inferred.input, *inferred.value_info] if value.type.tensor_type.elem_type == FLOAT16
    }
    for node in graph.node:
        if node.op_type == "Clip" and node.input[0] in half:
            for position, bound in enumerate(node.input):
                if bound in constants and constants[bound].dtype != np.float16:
                    node.input[position] = f"{node.name}_bound_{position}"
                    array = constants[bound].astype(np.float16)
                    graph.initializer.append(numpy_helper.from_array(array, node.input[position]))


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the shape of every tensor of which it is known."""
    known = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(axis.HasField("dim_value") for axis in kind.shape.dim):
            known[value.name] = [axis.dim_value for axis in kind.shape.dim]
    return known


def _evaluated(
    node: onnx.NodeProto, constants: Mapping[str, Array], shapes: Mapping[str, list[int]], opsets: list[Any]
) -> list[Array] | None:
    """Return the results of `node`, or None where they depend on the network's input."""
    if node.op_type in NOT_FOLDED or any(attribute.HasField("g") for attribute in node.attribute):
        return None
    given = {source: constants[source] for source in node.input if source in constants}
    if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
        given = {node.input[0]: np.broadcast_to(np.float32(0), shapes[node.input[0]])}  # no memory is taken
    if not all(node.output) or any(source and source not in given for source in node.input):
        return None
    inputs = [
        helper.make_tensor_value_info(source, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for source, array in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(output) for output in node.output]
    one = helper.make_model(helper.make_graph([node], node.name, inputs, outputs), opset_imports=opsets)
    try:
        results = [np.asarray(result) for result in ReferenceEvaluator(one).run(None, given)]
        for result in results:
            numpy_helper.from_array(result)
        return results
    except Exception:  # whatever the evaluator cannot do stays in the network
        return None
