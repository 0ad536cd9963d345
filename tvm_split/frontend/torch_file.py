"""A program exported by torch (.pt2, or an ExportedProgram) -> IRModule; torch is needed for it and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.frontend.constants import fold
from tvm_split.frontend.contract import with_output_names
from tvm_split.frontend.names import rename


def from_file(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tvm.IRModule:
    """Return the module of the file that `torch.export.save` wrote; its inputs' shapes are those of the export.

    Raises ModelError when torch is missing, when the file is not an exported program, when `shapes` is given, and as
    `from_program` does.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError(
            f"{path}: reading a .pt2 needs torch: `pip install torch`; or export the network to ONNX"
        ) from error
    if shapes:
        raise ModelError(f"{path}: an exported program fixes its shapes; export it again with an example of the shape")
    try:
        program = torch.export.load(str(path))
    except Exception as error:  # torch raises RuntimeError, zipfile's errors, KeyError ...
        raise ModelError(
            f"{path}: torch.export.load cannot read it ({error}); write it with torch.export.save"
        ) from error
    return from_program(program, str(path))


def from_program(program: Any, name: str) -> tvm.IRModule:
    """Return the module of a `torch.export.ExportedProgram`; ModelError when TVM's importer refuses it."""
    from tvm_split.frontend.torch_import import (  # needs torch, and whoever has a program has it
        named_module,
        output_names,
    )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mod, results = named_module(program)
    except Exception as error:  # TVM and torch raise some ten unrelated kinds here
        raise ModelError(f"{name}: TVM cannot import the program: {error}") from error
    tidy = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
    folded = fold(tvm.transform.Sequential(tidy)(rename(mod, results)))
    return with_output_names(folded, output_names(program))
