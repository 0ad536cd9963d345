"""Mark the convolutions that Winograd's F(2x2, 3x3) computes in less time than their definition does.

    Given:   r = conv2d_bias_relu(x)        float32, 3x3, stride 1, many channels
    Result:  r = conv2d_bias_relu(x)        its function has the attribute tvm_split.winograd

pack-weights obeys the mark; see kernels/conv2d_winograd.py. It is a mark of the layer, made before a network is cut, so
that halves and the whole compute the same bits whatever they are compiled for. What is counted depends on shapes alone.
Such a layer stores 16/9 of its weights, so it is a choice: with `wanted` false the same layers are marked as not to be
computed so. Layers that have a mark keep it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import relax

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.layering import WINOGRAD, is_constant, layer_calls

log = logging.getLogger("tvm_split.passes")

#: layouts of data and kernels, as frontends give them
LAYOUTS = {("NCHW", "OIHW"), ("NHWC", "HWIO"), ("NHWC", "OHWI")}
# Times of one element, in multiply-adds.
#: to fetch a weight from memory: nothing of a network's weights stays in a cache from one answer to the next
FETCH = 12
#: of a block of 2x2 and one channel: to make its patch of the data; to make its results of the sums
MAKE, FOLD = 72, 42
#: the largest share of the direct time that is worth the memory, and transforms slower than counted
WORTH = 0.625
#: kernels are vectors of so many channels at least
LEAST_LANES = 4


@tvm.transform.module_pass(opt_level=0, name="ChooseWinograd")
@dataclass(frozen=True)
class ChooseWinograd:
    """See the file's docstring."""

    wanted: bool = True

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        callees = {binding.value.op: callee for binding, callee in layer_calls(mod)}
        found = {
            gvar: callee.with_attr(WINOGRAD, self.wanted)
            for gvar, callee in callees.items()
            if WINOGRAD not in callee.attrs and (call := convolution(callee)) is not None and _pays(call)
        }
        if not found:
            log.info("ChooseWinograd: nothing to do: no layer is a convolution for it, or all have a mark")
            return mod
        out = mod.clone()
        out.update(tvm.IRModule(found))
        return out


def convolution(function: relax.Function) -> relax.Call | None:
    """The one nn.conv2d of a layer, when its kernel is a constant."""
    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    calls = [value for value in values if operator(value) == "relax.nn.conv2d"]
    return calls[0] if len(calls) == 1 and is_constant(calls[0].args[1]) else None


def _pays(call: relax.Call) -> bool:
    attrs, (data, kernel) = call.attrs, call.args[:2]
    layouts = str(attrs.data_layout), str(attrs.kernel_layout)
    out, weight = static_shape(call), static_shape(kernel)
    if layouts not in LAYOUTS or out is None or weight is None or static_shape(data) is None:
        return False
    if {str(each.ty.dtype) for each in (data, kernel, call)} != {"float32"} or str(attrs.out_layout) != layouts[0]:
        return False
    steps = [int(n) for n in (*attrs.strides, *attrs.dilation, attrs.groups)]
    sizes = dict(zip(layouts[1], weight, strict=True))
    space = dict(zip(layouts[0], out, strict=True))
    if set(steps) != {1} or (sizes["H"], sizes["W"]) != (3, 3):
        return False
    return pays((space["N"], space["H"], space["W"]), sizes["I"], sizes["O"])


def pays(extents: Sequence[int], inner: int, channels: int) -> bool:
    """Whether the count says so for a result of (images, rows, columns) and so many channels in and out."""
    if inner % LEAST_LANES or channels % LEAST_LANES:
        return False
    images, height, width = extents
    direct = 9 * inner * channels * (images * height * width + FETCH)
    return winograd_steps(extents, inner, channels) + 16 * inner * channels * FETCH < WORTH * direct


def winograd_steps(extents: Sequence[int], inner: int, channels: int) -> int:
    """Time of Winograd's algorithm for such a result, its weights at hand, in multiply-adds."""
    images, height, width = extents
    blocks = images * -(-height // 2) * -(-width // 2)
    return blocks * (16 * inner * channels + MAKE * inner + FOLD * channels)
