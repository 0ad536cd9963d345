"""Take weights that are next to nothing for nothing.

    Given:   y = conv2d(x, w)    with w = (0.5, 1e-40, -3e-39)
    Result:  y = conv2d(x, w)    with w = (0.5, 0, -0)

Training with weight decay leaves channels that nobody needs at numbers below the least normal float32, 1.2e-38
(IEEE 754-2008, 2.1.51). x86 processors compute with those in microcode: a layer with a fifth of its weights there
takes 40 times as long (PP-OCR's recogniser has some). Costs at most 1.2e-38 times the layer's input, in each term.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.bindings import Scope, constant, rewrite

LEAST_NORMAL = np.finfo(np.float32).tiny


@tvm.transform.module_pass(opt_level=0, name="FlushSubnormals")
@dataclass(frozen=True)
class FlushSubnormals:
    """Turn subnormal float32 constants of operators into zeros of their sign; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, "FlushSubnormals", _visit, "operator with a float32 constant below the least normal one")


def _visit(_scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    call = binding.value
    if not isinstance(call, relax.Call):
        return None
    args = [_flushed(arg) for arg in call.args]
    if all(arg is None for arg in args):
        return None
    kept = [old if new is None else new for new, old in zip(args, call.args, strict=True)]
    return relax.Call(call.op, kept, call.attrs, call.ty_args)


def _flushed(arg: relax.Expr) -> relax.Expr | None:
    """Another argument; None where it is no constant or has no such number. Tuples (concat's) are looked into."""
    if isinstance(arg, relax.Tuple):
        fields = [_flushed(field) for field in arg.fields]
        if all(field is None for field in fields):
            return None
        return relax.Tuple([old if new is None else new for new, old in zip(fields, arg.fields, strict=True)])
    values = constant(arg)
    if values is None or values.dtype != np.float32:
        return None
    tiny = (np.abs(values) < LEAST_NORMAL) & (values != 0)
    return relax.const(np.where(tiny, np.copysign(np.float32(0), values), values), "float32") if tiny.any() else None
