"""IRModule of layers -> the LayerShape of each that multiplies.

convolution              as it is; one dimension is a height of 1. Padding counts as inputs; a dilated window has its
                         inputs side by side, so the products are the same and the addresses are not
grouped, depth-wise      `groups` convolutions of one group, one after another: an array has no other way
images of a batch        below one another, as more rows of the result
matmul                   (rows x inner) times (inner x columns); a matrix for each of a batch is a group
three dimensions         a matmul of (positions x window) times (window x filters): shared inputs count once a window
transposed convolution   a matmul of (input positions x channels) times (channels x filters and kernel); adding up
                         what overlaps is not counted
"""

from __future__ import annotations

import math

import tvm
from tvm import relax

from tvm_split.errors import CostError
from tvm_split.flops import extents
from tvm_split.passes.bindings import operator
from tvm_split.passes.fold_batch_norm import CONVOLUTIONS, TRANSPOSED
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.profile.layer_shape import LayerShape

#: operators that multiply, and that no array is known to map
UNMAPPED = {"relax.einsum", "relax.nn.attention", "relax.nn.attention_bias"}


def layer_shapes(mod: tvm.IRModule) -> dict[str, LayerShape]:
    """By layer, in order; layers that multiply no matrices are left out.

    CostError: a layer is of an operator that cannot be mapped (attention, einsum), or multiplies twice.
    """
    found: dict[str, LayerShape] = {}
    for _, callee in layer_calls(mod):
        name = str(callee.attrs[LAYER])
        for block in callee.body.blocks:
            for binding in block.bindings:
                shape = _shape(name, binding.value)
                if shape is not None and name in found:
                    raise CostError(f"layer '{name}' multiplies more than once, which no array maps; {INSTEAD}")
                if shape is not None:
                    found[name] = shape
    return found


INSTEAD = "use --costs roofline"


def _shape(layer: str, value: relax.Expr) -> LayerShape | None:
    name = operator(value)
    if name in UNMAPPED:
        raise CostError(f"layer '{layer}' is {name}, which is not mapped to a systolic array; {INSTEAD}")
    if name == "relax.matmul":
        return _matmul(*(extents(arg.ty) for arg in value.args))
    if name in TRANSPOSED:
        return _transposed(value)
    return _convolution(value) if name in CONVOLUTIONS else None


def _convolution(call: relax.Call) -> LayerShape:
    attrs = call.attrs
    result = _by_letter(call, str(attrs.out_layout) or str(attrs.data_layout))
    kernel = _by_letter(call.args[1], str(attrs.kernel_layout))
    groups = int(attrs.groups)
    filters = kernel["O"] // groups
    if "D" in kernel:
        positions = math.prod(result.values()) // result["C"]
        window = math.prod(kernel.values()) // kernel["O"]
        return LayerShape.matmul(positions, window, filters, groups)
    strides = [1, *(int(stride) for stride in attrs.strides)][-2:]
    return LayerShape(
        result["N"] * result.get("H", 1), result["W"], kernel.get("H", 1), kernel["W"], kernel["I"], filters,
        strides[0], strides[1], groups,
    )  # fmt: skip


def _transposed(call: relax.Call) -> LayerShape:
    data = _by_letter(call.args[0], str(call.attrs.data_layout))
    kernel = _by_letter(call.args[1], str(call.attrs.kernel_layout))
    groups = int(call.attrs.groups)
    made = math.prod(kernel.values()) // kernel["I"]  # "O" is the filters of one group
    return LayerShape.matmul(math.prod(data.values()) // data["C"], data["C"] // groups, made, groups)


def _matmul(left: tuple[int, ...], right: tuple[int, ...]) -> LayerShape:
    """One matrix on the right serves all rows of a batch on the left; a batch on the right is a group a matrix."""
    left, right = (1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right
    groups = math.prod(right[:-2])
    if groups == 1:
        return LayerShape.matmul(math.prod(left[:-1]), left[-1], right[-1])
    pairs = max(groups, math.prod(left[:-2]))  # the smaller batch, if any, is repeated
    return LayerShape.matmul(left[-2], left[-1], right[-1], pairs)


def _by_letter(expr: relax.Expr, layout: str) -> dict[str, int]:
    return dict(zip(layout, extents(expr.ty), strict=True))
