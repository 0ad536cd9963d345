"""Compile equal kernels once: layers of one shape differ in their weights only, and those are arguments.

    Given:   y = call_tir(conv_1, (x, w1));  z = call_tir(conv_2, (y, w2))      conv_1 and conv_2 are equal
    Result:  y = call_tir(conv_1, (x, w1));  z = call_tir(conv_1, (y, w2))

Nothing is computed differently.
"""

from __future__ import annotations

from collections.abc import Iterable

import tvm
import tvm_ffi
from tvm import relax, tirx


@tvm.transform.module_pass(opt_level=0, name="ShareKernels")
class ShareKernels:
    """Let calls of equal PrimFuncs call the first of them, and drop the others."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        kernels = [(gvar, f) for gvar, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)]
        first = equal_kernels((str(gvar.name_hint), f) for gvar, f in kernels)
        swap = {name: mod.get_global_var(other) for name, other in first.items() if name != other}
        if not swap:
            return mod
        shared = mod.clone()
        for gvar, function in mod.functions_items():
            if isinstance(function, relax.Function):
                shared.update_func(gvar, _Swap(swap).visit_expr(function))
        for name in swap:
            del shared[name]
        return shared


def equal_kernels(kernels: Iterable[tuple[str, tirx.PrimFunc]]) -> dict[str, str]:
    """Name of each kernel -> name of the first that is equal to it, whatever they are called."""
    seen: dict[int, list[tuple[str, tirx.PrimFunc]]] = {}
    first = {}
    for name, function in kernels:
        bare = function.without_attr("global_symbol") if "global_symbol" in (function.attrs or {}) else function
        alike = seen.setdefault(int(tvm_ffi.structural_hash(bare, map_free_vars=True)), [])
        same = (other for other, code in alike if tvm_ffi.structural_equal(code, bare, map_free_vars=True))
        first[name] = next(same, name)
        if first[name] == name:
            alike.append((name, bare))
    return first


@relax.expr_functor.mutator
class _Swap(relax.PyExprMutator):
    def __init__(self, swap: dict[str, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self.swap = swap

    def visit_global_var_(self, op: tvm.ir.GlobalVar) -> tvm.ir.GlobalVar:
        return self.swap.get(str(op.name_hint), op)
