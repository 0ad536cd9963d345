"""Raise an ONNX model's opset and fold its constants, so that TVM sees fixed shapes and weights only."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import numpy_helper, version_converter

from tvm_split.errors import ModelError

OPSET = 13  # Resize of opset 10 and 11, and Clip and Pad with attributes, import badly

# onnxruntime's BASIC level also fuses and rewrites. What our own passes do, or would undo, stays off; constant folding,
# shape arithmetic, common subexpressions and the removal of operators without effect stay on.
LEFT_TO_OUR_PASSES = [
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
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
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{name}: opset {opset} cannot be raised to {OPSET} ({error}); export it with opset {OPSET} or later"
        ) from error


def fold(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return `model` with constants folded and its shapes inferred, standard operators only. Empties `model`.

    Nodes are named (by their first output where they have no name), since Relax variables take these names.
    """
    _name_nodes(model.graph)
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
            raise ModelError(f"{name}: onnxruntime refuses the model: {error}") from error
        model = onnx.load(folded)
    _tidy(model)
    return model


def _name_nodes(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if not node.name:
            node.name = next((output for output in node.output if output), node.op_type)


def _tidy(model: onnx.ModelProto) -> None:
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
    _name_nodes(model.graph)
