"""Fixtures for tests of passes: `apply` checks what every pass promises, `run` computes a module's outputs,
`check_bits` those of packed kernels on every processor.

They hold no state, so one serves the whole session, and hypothesis may call a test that takes them many times.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.ir.instrument import pass_instrument

from tvm_split import extract, lower, pipeline
from tvm_split.passes.layering import main_bindings
from tvm_split.passes.partition import Partition, side_outputs
from tvm_split.passes.schedule import RULE

TARGET = tvm.target.Target("llvm")
#: what this machine must have to run the code of a processor of `processors`
NEEDS = {"avx2": "avx2", "avx512": "avx512f"}
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


@pytest.fixture(scope="session")
def conversions() -> Callable[[tvm.IRModule], Counter[str]]:
    """How many operators of each name stand in `main` and are no layer."""

    def count(mod: tvm.IRModule) -> Counter[str]:
        values = [binding.value for binding in main_bindings(mod)[1]]
        return Counter(str(v.op.name) for v in values if isinstance(v, relax.Call) and isinstance(v.op, tvm.ir.Op))

    return count


@pytest.fixture(scope="session")
def processors() -> dict[str, tvm.target.Target]:
    """What kernels are made for."""
    return {
        "avx2": tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3", "num-cores": 2}),
        "avx512": tvm.target.Target({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2}),
        "arm": tvm.target.Target("raspberry-pi/4b-aarch64"),
    }


@pytest.fixture(scope="session")
def check_bits(processors: dict[str, tvm.target.Target]) -> Callable[..., None]:
    """Compile `main` as a network for each processor whose code runs here; check its one output.

    Each element is within `bound` of `exact`, and each processor gives the same bits.
    """
    host = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu()})
    names = [name for name, feature in NEEDS.items() if tvm.target.codegen.target_has_features(feature, host)]

    def check(mod: tvm.IRModule, inputs: tuple[np.ndarray, ...], exact: np.ndarray, bound: np.ndarray) -> None:
        results = []
        for target in (processors[name] for name in names):
            made = tvm.compile(mod, target, relax_pipeline=pipeline.cpu(target))
            results.append(_call(made, inputs).numpy())
            assert results[-1].shape == exact.shape
            assert (np.abs(results[-1] - exact) <= bound).all()
        for other in results[1:]:
            np.testing.assert_array_equal(results[0].view("uint32"), other.view("uint32"))

    return check


@pytest.fixture(scope="session")
def scheduled() -> Callable[[tvm.IRModule, tvm.target.Target], list[tuple[str, tvm.tirx.PrimFunc]]]:
    """Compile `main` as a network; (rule, kernel) of each kernel that a rule took."""

    def kernels(mod: tvm.IRModule, target: tvm.target.Target) -> list[tuple[str, tvm.tirx.PrimFunc]]:
        found = []

        @pass_instrument
        class Scheduled:
            def run_after_pass(self, mod: tvm.IRModule, info: Any) -> None:
                if info.name == "ScheduleKernels":
                    found.extend((str(f.attrs[RULE]), f) for f in mod.functions.values() if RULE in (f.attrs or {}))

        with tvm.transform.PassContext(instruments=[Scheduled()]):
            tvm.compile(mod, target, relax_pipeline=pipeline.cpu(target))
        return found

    return kernels
