"""Refuse to test another checkout's packages; modules of a few operators for tests of passes and of the frontend."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tvm
from tvm import relax

import tvm_split
import tvm_split.passes
import tvm_split.targets
from tvm_split.assembly.mca import find_tool
from tvm_split.errors import CostError

ROOT = Path(__file__).resolve().parent.parent
PLACES = {tvm_split: "tvm_split", tvm_split.passes: "passes", tvm_split.targets: "targets"}

for _package, _folder in PLACES.items():
    _found = Path(_package.__file__).resolve().parent
    if _found != ROOT / _folder:
        pytest.exit(
            f"{_package.__name__} comes from {_found}, not {ROOT / _folder}: run `pip install -e .`", returncode=2
        )


@pytest.fixture(scope="session")
def build() -> Callable[..., tvm.IRModule]:
    """The module with `main(x0, x1, ...) = body(emit, x0, x1, ...)`; `emit(value, name)` binds a variable."""

    def module(body: Callable[..., relax.Expr], *shapes: tuple[int, ...]) -> tvm.IRModule:
        builder = relax.BlockBuilder()
        params = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
        with builder.function("main", params):
            with builder.dataflow():
                out = builder.emit_output(body(builder.emit, *params))
            builder.emit_func_output(out)
        return builder.get()

    return module


@pytest.fixture(scope="session")
def llvm_mca() -> str:
    """Path of the tool; without it the test is skipped."""
    try:
        return find_tool()
    except CostError as error:
        pytest.skip(str(error))
