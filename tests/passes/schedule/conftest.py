"""`kernel` makes the PrimFunc of a layer; `compare` runs one with a rule and without."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.s_tir.dlight.base import ScheduleRule

from tvm_split.passes.schedule.exponential import expand

HOST = tvm.target.Target({"kind": "llvm", "mcpu": tvm.target.codegen.llvm_get_system_cpu(), "num-cores": 2})
OTHERS = (tvm.target.Target({"kind": "llvm", "mcpu": "haswell"}), tvm.target.Target("raspberry-pi/4b-aarch64"))


@pytest.fixture(scope="session")
def host() -> tvm.target.Target:
    return HOST


@pytest.fixture(scope="session")
def kernel() -> Callable[..., tirx.PrimFunc]:
    """The one PrimFunc of `body(emit, x0, x1, ...)`, fused as a layer is."""

    def make(
        body: Callable[..., relax.Expr], *shapes: tuple[int, ...], dtype: str = "float32"
    ) -> tirx.PrimFunc:  # fmt: skip
        builder = relax.BlockBuilder()
        params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
        with builder.function("layer", params, attrs={"Primitive": True}):
            with builder.dataflow():
                out = builder.emit_output(body(builder.emit, *params))
            builder.emit_func_output(out)
        mod = builder.get()
        inner = mod["layer"]
        outer = [relax.Var(f"y{i}", param.ty) for i, param in enumerate(params)]
        made = relax.DataflowVar("made", inner.ret_ty)
        result = relax.Var("result", inner.ret_ty)
        call = relax.Call(mod.get_global_var("layer"), outer)
        block = relax.DataflowBlock([relax.VarBinding(made, call), relax.VarBinding(result, made)])
        main = relax.Function(outer, relax.SeqExpr([block], result), inner.ret_ty, is_pure=True)
        mod["main"] = main.with_attr("global_symbol", "main")
        passes = [relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern(), relax.transform.FuseTIR()]
        with HOST:
            mod = tvm.transform.Sequential(
                [relax.transform.Normalize(), *passes, relax.transform.DeadCodeElimination()]
            )(mod)
        (found,) = [f for _, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)]
        return found

    return make


@pytest.fixture(scope="session")
def compare() -> Callable[..., tuple[np.ndarray, np.ndarray, Any]]:
    """(result scheduled by the rule, result as written, the schedule); it compiles for other processors, too.

    `mathematics` rewrites exp and its like first, as ScheduleKernels does.
    """

    def run(rule: ScheduleRule, func: tirx.PrimFunc, mathematics: bool = False, scale: float = 1.0) -> Any:
        wanted = expand(func) if mathematics else func
        found = rule.apply(wanted, HOST, False)
        assert found is not None, f"{type(rule).__name__} does not know the function"
        for target in OTHERS:
            other = rule.apply(wanted, target, False)
            assert other is not None
            tvm.compile(_named(other.mod["main"]), target)
        random = np.random.default_rng(0)
        arrays = [(scale * random.standard_normal([int(n) for n in p.ty.shape])).astype("float32") for p in func.params]
        results = []
        for each in (found.mod["main"], func):
            tensors = [tvm.runtime.tensor(array) for array in arrays]
            tvm.compile(_named(each), HOST).mod["main"](*tensors)
            results.append(tensors[-1].numpy())
        return *results, found

    return run


def _named(func: tirx.PrimFunc) -> tvm.IRModule:
    return tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
