"""An ONNX file or ModelProto -> IRModule: read, check, fix the shapes, fold the constants, import."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import onnx
import tvm
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tvm_split.errors import ModelError, last_line
from tvm_split.frontend.onnx_check import check_operators, check_quantizers, check_static, check_weights
from tvm_split.frontend.onnx_fold import fold, modern, without_dropout_masks
from tvm_split.frontend.onnx_fold_float16 import fold_by_node, has_float16
from tvm_split.frontend.onnx_import import to_relax
from tvm_split.frontend.onnx_shapes import fix_inputs

log = logging.getLogger("tvm_split.frontend")


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

    Steps, in this order: refuse what the importer has no converter for; refuse damaged and NaN weights; give every
    input its shape; raise the opset to 13; fold constants and shape arithmetic; look at the constants again; import
    with node names kept. A float16 network stays one, where onnxruntime's folding would make it float32; should that
    fail it is float32, and the log 'tvm_split.frontend' warns of it.
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
    model = without_dropout_masks(modern(model, name))
    refused = None
    if has_float16(model):
        try:
            kept = fold_by_node(model)
            if has_float16(kept):
                return _imported(kept, name)
            model = kept  # float16 was only how weights were stored: they are float32 now
        except Exception as error:  # onnx's InferenceError, ValueError over 2 GB, or our ModelError from the import
            refused = last_line(error)
    mod = _imported(fold(model, name), name)
    if refused:
        log.warning("%s: its float16 layers are computed in float32, since float16 was refused: %s", name, refused)
    return mod


def _imported(model: onnx.ModelProto, name: str) -> tvm.IRModule:
    check_weights(model, name, folded=True)
    check_quantizers(model, name)
    check_static(model, name)
    return to_relax(model, name)
