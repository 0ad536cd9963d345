"""A folded ONNX model -> IRModule, each node's name kept on the variable that holds its result."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from tvm_split.errors import ModelError
from tvm_split.frontend.names import Names, rename


class _NamedImporter(ONNXGraphImporter):
    """TVM's importer, except that a node's result is emitted under the node's name instead of staying nameless."""

    def __init__(self) -> None:
        super().__init__(shape_dict=None, dtype_dict={})
        self.node_name = ""
        self.input_names = Names()

    def _sanitize_name(self, name: str) -> str:
        return self.input_names.fresh(name)

    def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
        self.node_name = f"{attrs['tvm_custom']['name']} ({op_name})"
        result = super()._convert_operator(op_name, inputs, attrs, opset)
        if isinstance(result, relax.Call) and self.bb.current_block_is_dataflow():
            return self.bb.emit(result, name_hint=attrs["tvm_custom"]["name"])
        return result


def to_relax(model: onnx.ModelProto, name: str) -> tvm.IRModule:
    """Return the module of `model`, whose shapes are static and whose operators all have converters.

    Raises ModelError naming the node at which the import stopped.
    """
    branches = [node.name for node in model.graph.node if node.op_type == "If"]
    if branches:
        raise ModelError(
            f"{name}: the branches {', '.join(branches)} depend on the data; export the network without If nodes"
        )
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    importer = _NamedImporter()
    try:
        # The importer prints and warns for the developer of a model; our errors say the same with the node's name.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mod = importer.from_onnx(model.graph, opset)
    except Exception as error:  # TVM raises some ten unrelated kinds here, AssertionError among them
        place = f"node {importer.node_name}" if importer.node_name else "the graph's inputs"
        raise ModelError(f"{name}: TVM cannot import {place}: {error}") from error
    return rename(mod)
