"""Compute what only constants go into, but leave quantised weights quantised.

    Given:   b = reshape(const, (1, 8, 1, 1));  q = dequantize(const int8, scale, zero);  y = conv2d(x, q) + b
    Result:  q = dequantize(const int8, scale, zero);  y = conv2d(x, q) + const

As relax.transform.FoldConstant, which would turn the weights of a quantised network into float32, and with them every
integer kernel that it could have had. `keep` names the operators that stay. Exact: the compiled operator computes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import relax

from tvm_split.passes.bindings import operator

log = logging.getLogger("tvm_split.passes")


@tvm.transform.module_pass(opt_level=0, name="FoldConstant")
@dataclass(frozen=True)
class FoldConstant:
    """Fold constant expressions except the operators of `keep`; see the file's docstring."""

    keep: tuple[str, ...] = ("relax.dequantize",)

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        hidden = {}
        work = mod.clone()
        for gvar, function in mod.functions_items():
            if isinstance(function, relax.Function):
                function, constants = _hide(function, self.keep)
                if constants:
                    work.update_func(gvar, function)
                    hidden[gvar.name_hint] = constants
        work = relax.transform.FoldConstant()(work)
        for name, constants in hidden.items():
            function = work[name]
            params = function.params[len(function.params) - len(constants) :]
            work.update_func(work.get_global_var(name), function.bind_params(dict(zip(params, constants, strict=True))))
        if tvm_ffi.structural_equal(mod, work):
            aside = f", {', '.join(self.keep)} aside" if self.keep else ""
            log.info("FoldConstant: nothing to do: no operator reads constants alone%s", aside)
            return mod
        return work


def _hide(function: relax.Function, keep: tuple[str, ...]) -> tuple[relax.Function, list[tvm.ir.GenericConst]]:
    """The function with the data of each kept operator as a parameter at the end, and what belongs there."""
    params: list[relax.Var] = []
    constants: list[tvm.ir.GenericConst] = []
    blocks = []
    for block in function.body.blocks:
        bindings = []
        for binding in block.bindings:
            call = binding.value
            if operator(call) in keep and isinstance(call.args[0], tvm.ir.GenericConst):
                params.append(relax.Var(f"{binding.var.name}_data", call.args[0].ty))
                constants.append(call.args[0])
                value = relax.Call(call.op, [params[-1], *call.args[1:]], call.attrs, call.ty_args)
                binding = relax.VarBinding(binding.var, relax.BlockBuilder().normalize(value))
            bindings.append(binding)
        blocks.append(type(block)(bindings))
    if not params:
        return function, []
    body = relax.BlockBuilder().normalize(relax.SeqExpr(blocks, function.body.body))
    whole = relax.Function([*function.params, *params], body, function.ret_ty, function.is_pure, function.attrs)
    return whole, constants
