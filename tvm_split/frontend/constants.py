"""Turn a reshaped or transposed constant into a constant, without compiling anything."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax


def fold_views(mod: tvm.IRModule) -> tvm.IRModule:
    """Make every weight of `main` a constant in the form in which its layer reads it.

    Given:   wt: (K, N) = permute_dims(w);  y = matmul(x, wt);  bn: (1, N, 1, 1) = reshape(b, ...);  z = add(c, bn)
    Result:  y = matmul(x, constant (K, N));  z = add(c, constant (1, N, 1, 1))

    Exact: elements move, none changes. What relax.transform.FoldConstant does too, which compiles a kernel a constant.
    """
    folded = _Folder(mod).run(mod["main"])
    return relax.transform.DeadCodeElimination(["main"])(folded)


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.views = {tvm.ir.Op.get(f"relax.{name}") for name in ("reshape", "permute_dims")}
        self.constants: dict[relax.Var, tvm.ir.GenericConst] = {}

    def run(self, main: relax.Function) -> tvm.IRModule:
        changed = self.visit_expr(main)
        module = self.builder_.get()
        module["main"] = changed
        return module

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        constant = self._view(binding.value)
        if constant is not None and isinstance(binding.var, relax.DataflowVar):
            self.constants[binding.var] = constant  # no longer read, so dropped afterwards
        super().visit_var_binding_(binding)

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> relax.Expr:
        return self.constants.get(var) or super().visit_dataflow_var_(var)

    def _view(self, value: relax.Expr) -> tvm.ir.GenericConst | None:
        if not isinstance(value, relax.Call) or value.op not in self.views:
            return None
        source = self.constants.get(value.args[0], value.args[0])
        if not isinstance(source, tvm.ir.GenericConst) or not isinstance(value.ty.shape, relax.ShapeExpr):
            return None
        array = source.value.numpy()
        if value.op.name == "relax.permute_dims":
            array = np.ascontiguousarray(np.transpose(array, value.attrs.axes))
        else:
            array = array.reshape([int(axis) for axis in value.ty.shape.values])
        return relax.const(array, source.ty.dtype)
