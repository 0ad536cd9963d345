"""A TFLite file -> IRModule, through TVM's importer and the package `tflite`."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend.tflite.tflite_frontend import ExprTable, OperatorConverter

from tvm_split.errors import ModelError
from tvm_split.frontend.constants import fold
from tvm_split.frontend.contract import with_output_names
from tvm_split.frontend.names import rename

FILE_IDENTIFIER = slice(4, 8)  # of a FlatBuffer: b"TFL3" for TFLite


def from_file(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tvm.IRModule:
    """Return the module of the TFLite file at `path`; `shapes` may repeat its inputs' shapes, not change them.

    Raises ModelError when the package `tflite` is missing, the file is not TFLite or is cut short, an input has an open
    axis beside the batch, or the importer refuses an operator (its message is passed on).
    """
    try:
        import tflite
    except ImportError as error:
        raise ModelError(f"{path}: reading TFLite needs a package: `pip install tflite`") from error
    data = path.read_bytes()
    if data[FILE_IDENTIFIER] != b"TFL3":
        raise ModelError(f"{path}: this is not a TFLite model: bytes 4 to 8 are {data[FILE_IDENTIFIER]!r}, not b'TFL3'")
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        declared = _inputs(model)
    except Exception as error:  # a FlatBuffer that is cut short fails wherever it is read: struct.error, TypeError ...
        raise ModelError(f"{path}: the TFLite file is cut short or damaged ({error!r}); copy it again") from error
    for name, axes in declared.items():
        if min(axes, default=1) < 1:
            raise ModelError(
                f"{path}: input {name!r} is laid out as {axes}, with an open axis; export it with fixed shapes"
            )
    for name, shape in shapes.items():
        if tuple(shape) != declared.get(name):
            raise ModelError(f"{path}: input {name!r} cannot be {tuple(shape)}; the file fixes its inputs: {declared}")
    results: dict[relax.Var, str] = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mod = relax.frontend.tflite.from_tflite(
                model, op_converter=lambda *given: _NamedConverter(*given, results=results)
            )
    except Exception as error:  # TVM raises some ten unrelated kinds here
        after = f" after the tensor {list(results.values())[-1]!r}" if results else ""
        raise ModelError(f"{path}: TVM cannot import the model{after}: {error}") from error
    mod["main"] = mod["main"].without_attr("params")  # a second copy of the weights
    tidy = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
    folded = fold(tvm.transform.Sequential(tidy)(rename(mod, results)))
    return with_output_names(folded, _outputs(model))


class _NamedConverter(OperatorConverter):
    """TVM's converter, except that it notes in `results` which variable holds which tensor of the file."""

    def __init__(
        self, model: Any, subgraph: Any, table: ExprTable, bb: relax.BlockBuilder, *, results: dict[relax.Var, str]
    ) -> None:
        super().__init__(model, subgraph, table, bb)
        self.exp_tab = _NamedTable(table, bb, results)


class _NamedTable(ExprTable):
    def __init__(self, table: ExprTable, bb: relax.BlockBuilder, results: dict[relax.Var, str]) -> None:
        super().__init__()
        self.exprs, self.params = table.exprs, table.params  # the importer reads them at the end
        self.bb, self.results = bb, results

    def set_expr(self, name: str, expr: relax.Expr, force_override: bool = False) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.ty, relax.TensorType):
            expr = self.bb.emit(expr)
        if isinstance(expr, relax.Var):
            self.results.setdefault(expr, name.split(";")[0])  # a fused layer lists the names of all its parts
        super().set_expr(name, expr, force_override)


def _inputs(model: Any) -> dict[str, tuple[int, ...]]:
    """Return input name -> shape as the file lays it out: an open batch axis stands there as 1."""
    graph = model.Subgraphs(0)
    inputs = {}
    for position in range(graph.InputsLength()):
        tensor = graph.Tensors(graph.Inputs(position))
        shape = tuple(int(axis) for axis in tensor.ShapeAsNumpy())
        signature = (
            tuple(int(axis) for axis in tensor.ShapeSignatureAsNumpy()) if tensor.ShapeSignatureLength() else shape
        )
        inputs[tensor.Name().decode()] = shape if -1 not in signature[1:] else signature
    return inputs


def _outputs(model: Any) -> list[str]:
    """Names of the outputs' tensors, in the file's order."""
    graph = model.Subgraphs(0)
    return [graph.Tensors(graph.Outputs(position)).Name().decode() for position in range(graph.OutputsLength())]
