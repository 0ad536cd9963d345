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

from tvm_split.errors import ModelError, last_line
from tvm_split.frontend.constants import fold
from tvm_split.frontend.contract import with_input_names, with_output_names
from tvm_split.frontend.names import Names, rename


class _NamedImporter(ONNXGraphImporter):
    """TVM's importer, except that it notes which variable holds each node's result, and so which parts are whose."""

    def __init__(self) -> None:
        super().__init__(shape_dict=None, dtype_dict={})
        self.node = ""
        self.results: dict[relax.Var, str] = {}
        self.input_names = Names()
        self.file_names: list[str] = []

    def _parse_graph_input(self, graph: onnx.GraphProto) -> None:
        self.input_names.keep(given.name for given in graph.input)
        super()._parse_graph_input(graph)
        self.file_names = list(self._input_names)

    def _sanitize_name(self, name: str) -> str:
        return self.input_names.fresh(name)

    def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> Any:
        name = attrs["tvm_custom"]["name"]
        self.node = f"{name} ({op_name})"
        result = super()._convert_operator(op_name, inputs, attrs, opset)
        if isinstance(result, relax.Call) and isinstance(result.ty, relax.TensorType):
            result = self.bb.emit(result)
        self._note(result, name)
        return result

    def _note(self, result: Any, name: str) -> None:
        """Give `name` to the variable `result`; to a tuple's first variable, the others being NAME_1, NAME_2, ..."""
        if isinstance(result, relax.Tuple):
            for index, part in enumerate(result.fields):
                self._note(part, f"{name}_{index}" if index else name)
        elif isinstance(result, relax.Var) and not any(result.same_as(given) for given in self._inputs.values()):
            self.results.setdefault(result, name)  # an operator without effect gives back an earlier node's result


def to_relax(model: onnx.ModelProto, name: str) -> tvm.IRModule:
    """Return the module of `model`, whose shapes are static and whose operators all have converters.

    Raises ModelError naming the node at which the import stopped.
    """
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    importer = _NamedImporter()
    try:
        # The importer prints and warns for the developer of a model; our errors say the same with the node's name.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mod = importer.from_onnx(model.graph, opset)
    except Exception as error:  # TVM raises some ten unrelated kinds here, AssertionError among them
        with contextlib.suppress(Exception):
            importer.bb._end_block()  # else TVM writes a warning about it on stderr
        place = f"node {importer.node}" if importer.node else "the graph's inputs"
        raise ModelError(
            f"{name}: TVM cannot import {place}: {last_line(error)}; change that node where the network is exported"
        ) from error
    tidy = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
    folded = fold(tvm.transform.Sequential(tidy)(rename(mod, importer.results)))
    named = with_output_names(folded, [output.name for output in model.graph.output])
    return with_input_names(named, importer.file_names)
