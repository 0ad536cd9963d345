"""Take weights that are next to nothing for nothing.

    Given:   y = conv2d(x, w)    with w = (0.5, 1e-40, -3e-39)
    Result:  y = conv2d(x, w)    with w = (0.5, 0, -0)

Training with weight decay leaves channels that nobody needs at numbers below the least normal float32, 1.2e-38
(IEEE 754-2008, 2.1.51). x86 processors compute with those in microcode: a layer with a fifth of its weights there
takes 40 times as long (PP-OCR's recogniser has some). Only weights of convolutions and matmuls are flushed: each of an
output's terms changes by at most 1.2e-38 times its input. Elsewhere such a number may keep a divisor or a logarithm's
argument from being zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.passes.bindings import Scope, constant, operator, rewrite

#: operators whose second argument is a weight, in which they are linear
LAYERS = ("relax.matmul", *(f"relax.nn.conv{n}d{kind}" for n in (1, 2, 3) for kind in ("", "_transpose")))
LEAST_NORMAL = np.finfo(np.float32).tiny


@tvm.transform.module_pass(opt_level=0, name="FlushSubnormals")
@dataclass(frozen=True)
class FlushSubnormals:
    """Turn subnormal float32 weights into zeros of their sign; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(
            mod, "FlushSubnormals", _visit, "convolution or matmul with a weight below the least normal float32"
        )


def _visit(_scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    call = binding.value
    if operator(call) not in LAYERS:
        return None
    x, weight = call.args[0], constant(call.args[1])
    if weight is None or weight.dtype != np.float32:
        return None
    tiny = (np.abs(weight) < LEAST_NORMAL) & (weight != 0)
    if not tiny.any():
        return None
    flushed = relax.const(np.where(tiny, np.copysign(np.float32(0), weight), weight), "float32")
    return relax.Call(call.op, [x, flushed], call.attrs, call.ty_args)
