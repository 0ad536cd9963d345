"""Raise an ONNX model's opset and fold its constants, so that TVM sees fixed shapes and weights only."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper, numpy_helper, version_converter

from tvm_split.errors import ModelError, last_line

OPSET = 13  # Resize of opset 10 and 11, and Clip and Pad with attributes, import badly

# onnxruntime's BASIC level also fuses and rewrites. What our own passes do, or would undo, stays off; constant folding,
# shape arithmetic, common subexpressions and the removal of operators without effect stay on.
LEFT_TO_OUR_PASSES = [
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "DivMulFusion",  # makes x * (1 / 0) a division by 0, which looks like any other
    "MatMulAddFusion",
    "MatMul_BatchNormalization_Fusion",
    "Pad_Fusion",
    "GemmSumFusion",
    "GemmTransposeFusion",
    "FuseReluClip",
    "TransposeOptimizer",
    "ClipQuantRewrite",
    "ReluQuantRewrite",
    "QDQPropagationTransformer",
    "DoubleQDQPairsRemover",
]


def modern(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return `model` at opset 13 or later; ModelError when onnx has no conversion for one of its operators."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset is None:
        raise ModelError(
            f"{name}: the model does not say which opset it uses; export it again with opset {OPSET} or later"
        )
    if opset >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # onnx raises ConvertError, InferenceError, RuntimeError, ValueError ...
        raise ModelError(
            f"{name}: opset {opset} cannot be raised to {OPSET} ({last_line(error)}); export it again, with opset "
            f"{OPSET} or later"
        ) from error


def fold(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return `model` with constants folded and its shapes inferred, standard operators only. Empties `model`.

    Nodes are named (by their first output where they have no name), since Relax variables take these names.
    """
    name_nodes(model.graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="tvm-split-") as folder:
        folded = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(folded)
        try:
            data = model.SerializeToString()
            model.Clear()
            onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"], disabled_optimizers=LEFT_TO_OUR_PASSES
            )
        except ValueError as error:
            raise ModelError(
                f"{name}: the model is larger than the 2 GB that one ONNX file can hold ({error})"
            ) from error
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ModelError(f"{name}: onnxruntime refuses the model: {last_line(error)}") from error
        model = onnx.load(folded)
    tidy(model)
    return model


def without_dropout_masks(model: onnx.ModelProto) -> onnx.ModelProto:
    """Say what the mask of each Dropout of `model` is when a network is used: true everywhere, since nothing drops.

    Given:   y, mask = Dropout(x)
    Result:  y = Dropout(x);  mask = ConstantOfShape(Shape(x), value=true)

    Exact. TVM's importer makes the mask float32; as a constant it is bool and folds away with what reads it.
    """
    graph = model.graph
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Dropout" and len(node.output) > 1:
            mask = node.output[1]
            del node.output[1:]
            if mask:
                true = helper.make_tensor("true", onnx.TensorProto.BOOL, [1], [True])
                nodes.append(helper.make_node("Shape", [node.input[0]], [f"{mask}_shape"]))
                nodes.append(helper.make_node("ConstantOfShape", [f"{mask}_shape"], [mask], value=true))
    if len(nodes) > len(graph.node):
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(nodes)
    return model


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give each node a name of its own: its first output where it has none, and '_1', '_2', ... where one is taken."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for node in graph.node:
        wanted = node.name or next((output for output in node.output if output), node.op_type)
        if wanted in (seen if node.name else taken):
            count = 1
            while f"{wanted}_{count}" in taken:
                count += 1
            wanted = f"{wanted}_{count}"
        node.name = wanted
        seen.add(wanted)
        taken.add(wanted)


def tidy(model: onnx.ModelProto) -> None:
    """Mend in place what TVM's importer refuses or would misread in a folded model; names stay distinct."""
    used = {node.domain for node in model.graph.node} | {"", "ai.onnx"}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    empty = {
        weight.name
        for weight in model.graph.initializer
        if 0 in weight.dims and numpy_helper.to_array(weight).size == 0
    }
    for node in model.graph.node:
        # TVM's importer refuses a Resize with both `sizes` and `scales`, even when `scales` is empty.
        if node.op_type == "Resize" and len(node.input) == 4 and node.input[3] and node.input[2] in empty:
            node.input[2] = ""
    name_nodes(model.graph)
