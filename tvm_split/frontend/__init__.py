"""Read a trained network into an `IRModule` whose `main` takes the network's inputs and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm

from tvm_split.errors import ModelError

ZOO_PREFIX = "zoo:"
SUFFIXES = (".onnx", ".tflite", ".pt2")


def load(model: Any, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> tvm.IRModule:
    """Return `model` as a well-formed module with static shapes and its weights as constants.

    `model` is a path (.onnx, .tflite, .pt2), 'zoo:NAME', an `onnx.ModelProto`, a `torch.export.ExportedProgram` or an
    `IRModule` (checked and returned). `shapes` fixes inputs whose axes the model leaves open: name -> every axis.

    `main` is one dataflow block and carries the attribute `num_input`, the number of its parameters; a variable is
    named after the model's node that makes it. Raises ModelError for whatever cannot be read or compiled.
    """
    if isinstance(model, tvm.IRModule):
        return _finished(model)
    if isinstance(model, str | Path):
        return _finished(_from_path(_resolve(model), shapes or {}))
    kind = type(model).__name__
    if kind == "ModelProto":
        from tvm_split.frontend.onnx_file import from_proto

        return _finished(from_proto(model, shapes or {}, "the given ModelProto"))
    if kind == "ExportedProgram":
        from tvm_split.frontend.torch_file import from_program

        return _finished(from_program(model, "the given ExportedProgram"))
    raise ModelError(
        f"a {type(model).__module__}.{kind} is not a model; give a path ({', '.join(SUFFIXES)}), '{ZOO_PREFIX}NAME', "
        "an onnx.ModelProto, a torch.export.ExportedProgram or a tvm.IRModule"
    )


def _resolve(model: str | Path) -> Path:
    if isinstance(model, str) and model.startswith(ZOO_PREFIX):
        from tvm_split import zoo

        return zoo.fetch(model.removeprefix(ZOO_PREFIX))
    path = Path(model)
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(f"{path}: the suffix {path.suffix!r} is not known; a model file ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ModelError(f"{path}: {_what_it_is(path)}")
    return path


def _what_it_is(path: Path) -> str:
    if path.is_dir():
        found = sorted(str(inner) for suffix in SUFFIXES for inner in path.glob(f"*{suffix}"))
        return f"this is a folder, not a model file; give {' or '.join(found[:3]) or 'the path of a file in it'}"
    if path.is_symlink() and not path.exists():
        return f"there is no such file: it is a link to {path.readlink()}, which is not there"
    if path.exists():
        return "this is a pipe, a socket or a device, not a file; write the model to a file and give that"
    return "there is no such file"


def _from_path(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tvm.IRModule:
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from tvm_split.frontend.onnx_file import from_file

        return from_file(path, shapes)
    if suffix == ".tflite":
        from tvm_split.frontend.tflite_file import from_file as from_tflite

        return from_tflite(path, shapes)
    from tvm_split.frontend.torch_file import from_file as from_torch

    return from_torch(path, shapes)


def _finished(mod: tvm.IRModule) -> tvm.IRModule:
    """Check what every later stage relies on, and set `num_input`."""
    from tvm_split.frontend.contract import checked

    return checked(mod)
