"""Fixtures for tests of passes: `apply` checks what every pass promises, `run` computes a module's outputs.

They hold no state, so one serves the whole session, and hypothesis may call a test that takes them many times.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.ir.instrument import pass_instrument

from tvm_split import extract, lower
from tvm_split.passes.partition import Partition, side_outputs

TARGET = tvm.target.Target("llvm")
Apply = Callable[[tvm.transform.Pass, tvm.IRModule], tvm.IRModule]


@pass_instrument
class WellFormed:
    """Check the module after every pass, the inner ones too."""

    def run_after_pass(self, mod: tvm.IRModule, info: object) -> None:
        relax.analysis.well_formed(mod)


@pytest.fixture(scope="session")
def apply_once() -> Apply:
    """Apply a pass: the result is well formed, the input untouched."""

    def check(step: tvm.transform.Pass, mod: tvm.IRModule) -> tvm.IRModule:
        before, text = tvm_ffi.structural_hash(mod), mod.script()
        with tvm.transform.PassContext(instruments=[WellFormed()]):
            result = tvm.transform.Sequential([step])(mod)
        assert tvm_ffi.structural_hash(mod) == before and mod.script() == text
        return result

    return check


@pytest.fixture(scope="session")
def apply(apply_once: Apply) -> Apply:
    """As `apply_once`, and a second time changes nothing: what a rewriting pass promises."""

    def check(step: tvm.transform.Pass, mod: tvm.IRModule) -> tvm.IRModule:
        result = apply_once(step, mod)
        assert step(result).same_as(result)
        return result

    return check


@pytest.fixture(scope="session")
def run() -> Callable[..., np.ndarray]:
    """Compile `main` for this machine as TVM does by itself and compute its output, which is one tensor."""

    def compute(mod: tvm.IRModule, *inputs: np.ndarray) -> np.ndarray:
        return _call(tvm.compile(mod, target=TARGET), inputs).numpy()

    return compute


@pytest.fixture(scope="session")
def run_layers() -> Callable[..., list[np.ndarray]]:
    """Compile `main`, a module of layers, as we do for a half, and compute its outputs."""

    def compute(mod: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
        result = _call(tvm.compile(mod, TARGET, relax_pipeline=lower.pipeline(TARGET)), inputs)
        return [part.numpy() for part in ([result] if isinstance(result, tvm.runtime.Tensor) else result)]

    return compute


@pytest.fixture(scope="session")
def run_halves(apply_once: Apply, run_layers: Callable[..., list[np.ndarray]]) -> Callable[..., list[np.ndarray]]:
    """Cut a module that assign-cut marked, compute both halves as the runtime does, and give the network's outputs."""

    def compute(mod: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
        crossing, at_edge, at_cloud = side_outputs(mod)
        edge, cloud = apply_once(Partition("edge"), mod), apply_once(Partition("cloud"), mod)
        returned = dict.fromkeys((*crossing, *at_edge))
        made = dict(zip(returned, run_layers(edge, *inputs), strict=True)) if returned else {}
        if at_cloud:
            made |= zip(at_cloud, run_layers(cloud, *(made[name] for name in crossing)), strict=True)
        return [made[name] for name in extract.graph(mod).outputs]

    return compute


def _call(executable: Any, inputs: tuple[np.ndarray, ...]) -> Any:
    return relax.VirtualMachine(executable, tvm.cpu())["main"](*(tvm.runtime.tensor(array) for array in inputs))


@pytest.fixture(scope="session")
def operators() -> Callable[[tvm.IRModule], list[str]]:
    """The operators that `main` calls, in order, by the last word of their names: conv2d, call_tir."""

    def names(mod: tvm.IRModule) -> list[str]:
        values = [binding.value for block in mod["main"].body.blocks for binding in block.bindings]
        return [value.op.name.split(".")[-1] for value in values if isinstance(value, relax.Call)]

    return names
