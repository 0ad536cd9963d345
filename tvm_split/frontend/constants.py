"""Turn reshaped and transposed constants into constants, without compiling anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

FOLDED: dict[str, Callable[..., np.ndarray[Any, Any]]] = {
    "relax.reshape": lambda call, array: array.reshape([int(axis) for axis in call.ty.shape.values]),
    "relax.permute_dims": lambda call, array: np.ascontiguousarray(np.transpose(array, call.attrs.axes)),
    "relax.isnan": lambda call, array: np.isnan(array),
    "relax.where": lambda call, *arrays: np.where(*arrays),
}


def fold(mod: tvm.IRModule) -> tvm.IRModule:
    """Make every weight and bound of `main` a constant in the form in which its layer reads it.

    Given:   wt: (K, N) = permute_dims(w);  y = matmul(x, wt);  bn: (1, N, 1, 1) = reshape(b, ...);  z = add(c, bn)
    Result:  y = matmul(x, constant (K, N));  z = add(c, constant (1, N, 1, 1))

    Exact: only elements move, and the importer's isnan and where around a Clip's constant bounds are answered. What
    relax.transform.FoldConstant does too, which compiles a kernel for each constant.
    """
    folded = _Folder(mod).run(mod["main"])
    return relax.transform.DeadCodeElimination(["main"])(folded)


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.constants: dict[relax.Var, tvm.ir.GenericConst] = {}

    def run(self, main: relax.Function) -> tvm.IRModule:
        changed = self.visit_expr(main)
        module = self.builder_.get()
        module["main"] = changed
        return module

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        constant = self._folded(binding.value)
        if constant is not None and isinstance(binding.var, relax.DataflowVar):
            self.constants[binding.var] = constant  # no longer read, so dropped afterwards
        super().visit_var_binding_(binding)

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> relax.Expr:
        return self.constants.get(var) or super().visit_dataflow_var_(var)

    def _folded(self, value: relax.Expr) -> tvm.ir.GenericConst | None:
        if not isinstance(value, relax.Call) or getattr(value.op, "name", "") not in FOLDED:
            return None
        sources = [self.constants.get(arg, arg) for arg in value.args if not isinstance(arg, relax.ShapeExpr)]
        static = isinstance(value.ty, relax.TensorType) and isinstance(value.ty.shape, relax.ShapeExpr)
        if not static or not all(isinstance(source, tvm.ir.GenericConst) for source in sources):
            return None
        array = FOLDED[value.op.name](value, *(source.value.numpy() for source in sources))
        return relax.const(array, str(value.ty.dtype))
