"""An ONNX file or ModelProto -> IRModule: read, check, fix the shapes, fold the constants, import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import tvm
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tvm_split.errors import ModelError
from tvm_split.frontend.onnx_check import check_operators, check_weights
from tvm_split.frontend.onnx_fold import fold, modern
from tvm_split.frontend.onnx_import import to_relax
from tvm_split.frontend.onnx_shapes import fix_inputs


def from_file(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tvm.IRModule:
    """Return the module of the ONNX file at `path`, with its external data files beside it.

    Raises ModelError when it is not ONNX, is cut short, or as `from_proto` does.
    """
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ModelError(
            f"{path}: this is not an ONNX model, or the file is cut short ({error}); copy it again"
        ) from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: its external data cannot be read ({error}); put the data files beside the model, complete"
        ) from error
    return from_proto(model, shapes, str(path), owned=True)


def from_proto(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], name: str, *, owned: bool = False
) -> tvm.IRModule:
    """Return the module of `model`; `name` is how error messages call it. `owned`: it may be changed and emptied.

    Steps, in this order: refuse what the importer has no converter for; refuse NaN weights; give every input its shape;
    raise the opset to 13; fold constants and shape arithmetic; import with node names kept.
    The peak of memory is about three times the weights: onnxruntime's copy beside ours.
    """
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{name}: the model has no nodes or no outputs; it is empty, cut short or not an ONNX model")
    if not owned:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        model = copy
    model = check_operators(model, name)
    check_weights(model, name)
    fix_inputs(model, shapes, name)
    model = modern(model, name)
    model = fold(model, name)
    return to_relax(model, name)
