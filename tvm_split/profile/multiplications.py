"""Multiply-adds of each layer of a module, as its kernel does them: what a hot loop's turns are counted from.

convolution, matmul, einsum, attention    half of their operations
by Winograd's algorithm                   its own products, and its transforms as `choose-winograd` counts them
anything else                             none: what such a layer takes is its bytes
"""

from __future__ import annotations

import tvm

from tvm_split.flops import extents, flops_of
from tvm_split.passes.bindings import operator
from tvm_split.passes.choose_winograd import convolution, winograd_steps
from tvm_split.passes.layering import LAYER, WINOGRAD, layer_calls

MULTIPLYING = ("relax.nn.conv", "relax.matmul", "relax.einsum", "relax.nn.attention")


def multiply_adds(mod: tvm.IRModule, by_definition: bool = False) -> dict[str, int]:
    """By layer; those without any are left out. by_definition: as integer kernels do, which know no Winograd."""
    found: dict[str, int] = {}
    for _, callee in layer_calls(mod):
        bindings = [item for block in callee.body.blocks for item in block.bindings]
        steps = sum(flops_of(item, mod) // 2 for item in bindings if operator(item.value).startswith(MULTIPLYING))
        call = None if by_definition or not (callee.attrs or {}).get(WINOGRAD) else convolution(callee)
        if call is not None:
            space = dict(zip(str(call.attrs.data_layout), extents(call.ty), strict=True))
            sizes = dict(zip(str(call.attrs.kernel_layout), extents(call.args[1].ty), strict=True))
            steps = winograd_steps((space["N"], space["H"], space["W"]), sizes["I"], sizes["O"])
        if steps:
            found[str(callee.attrs[LAYER])] = steps
    return found
