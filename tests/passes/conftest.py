"""Fixtures for tests of passes: `apply` checks what every pass promises, `run` computes a module's outputs."""

from collections.abc import Callable

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.ir.instrument import pass_instrument


@pass_instrument
class WellFormed:
    """Check the module after every pass, the inner ones too."""

    def run_after_pass(self, mod: tvm.IRModule, info: object) -> None:
        relax.analysis.well_formed(mod)


@pytest.fixture
def apply() -> Callable[[tvm.transform.Pass, tvm.IRModule], tvm.IRModule]:
    """Apply a pass: the result is well formed, the input untouched, a second time changes nothing."""

    def check(step: tvm.transform.Pass, mod: tvm.IRModule) -> tvm.IRModule:
        before, text = tvm_ffi.structural_hash(mod), mod.script()
        with tvm.transform.PassContext(instruments=[WellFormed()]):
            result = tvm.transform.Sequential([step])(mod)
        assert tvm_ffi.structural_hash(mod) == before and mod.script() == text
        assert step(result).same_as(result)
        return result

    return check


@pytest.fixture
def run() -> Callable[..., np.ndarray]:
    """Compile `main` for this machine and compute its output."""

    def compute(mod: tvm.IRModule, *inputs: np.ndarray) -> np.ndarray:
        machine = relax.VirtualMachine(tvm.compile(mod, target=tvm.target.Target({"kind": "llvm"})), tvm.cpu())
        return machine["main"](*(tvm.runtime.tensor(array) for array in inputs)).numpy()

    return compute
