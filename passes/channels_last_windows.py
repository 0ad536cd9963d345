"""How operators of windows compute channels last: convolutions, pooling, resizing. Rules as in channels_last_ops.py."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax

from tvm_split.passes.axis_order import Answer, Rule, channels_last, permuted
from tvm_split.passes.bindings import constant, maker, operator
from tvm_split.passes.pack_others import whole_groups
from tvm_split.passes.stored_weights import StoredWeights, stored_weights


def _last(layout: str) -> str:
    return layout[0] + layout[2:] + layout[1]


def _convolution(layout: str, kernel_layout: str, call: relax.Call, args: list[Any]) -> Answer:
    """A transposed one only where pack-weights takes it: nothing else computes those channels last."""
    data, attrs, kernel = args[0], call.attrs, _kernel(args[1])
    order = channels_last(len(layout))
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if kernel is None or data.order != order or layouts != (layout, kernel_layout, layout):
        return None
    more = {}
    if operator(call).endswith("_transpose"):
        groups, channels = int(attrs.groups), kernel.shape[1] * int(attrs.groups)
        if {str(kernel.dtype), str(call.ty.dtype)} != {"float32"} or not whole_groups(channels, groups):
            return None
        more = {"output_padding": attrs.output_padding}
    kernel_last = kernel_layout[2:] + "IO"
    moved = kernel.transpose([kernel_layout.index(axis) for axis in kernel_last])
    weight = moved.expr() if isinstance(moved, StoredWeights) else relax.const(np.ascontiguousarray(moved))
    return maker(call)(
        data.expr, weight, strides=attrs.strides, padding=attrs.padding,
        dilation=attrs.dilation, groups=attrs.groups, data_layout=_last(layout), kernel_layout=kernel_last,
        out_layout=_last(layout), out_dtype=attrs.out_dtype, **more,
    ), order  # fmt: skip


def _kernel(arg: Any) -> np.ndarray | StoredWeights | None:
    stored = stored_weights(arg) if isinstance(arg, relax.Call) else None
    return constant(arg) if stored is None else stored


def _pool(layout: str, call: relax.Call, args: list[Any]) -> Answer:
    (data,), attrs, order = args, call.attrs, channels_last(len(layout))
    if data.order != order or (str(attrs.layout), str(attrs.out_layout)) != (layout, layout):
        return None
    layouts = {"layout": _last(layout), "out_layout": _last(layout)}
    if operator(call).startswith("relax.nn.adaptive"):
        return maker(call)(data.expr, attrs.output_size, **layouts), order
    windows = (attrs.pool_size, attrs.strides, attrs.padding, attrs.dilation)
    return maker(call)(data.expr, *windows, attrs.ceil_mode, attrs.count_include_pad, **layouts), order


def pool3d(call: relax.Call, args: list[Any]) -> Answer:
    """Windows follow the spatial axes: so a pooling over C, as local response normalisation has, stays one."""
    (data,), attrs = args, call.attrs
    if data.order[:2] != (0, 1) or (str(attrs.layout), str(attrs.out_layout)) != ("NCDHW", "NCDHW"):
        return None
    spatial = tuple(axis - 2 for axis in data.order[2:])
    padding = (*permuted(attrs.padding[:3], spatial), *permuted(attrs.padding[3:], spatial))
    size, strides, dilation = (permuted(each, spatial) for each in (attrs.pool_size, attrs.strides, attrs.dilation))
    made = maker(call)(data.expr, size, strides, padding, dilation, attrs.ceil_mode, attrs.count_include_pad)
    return made, data.order


def _resize2d(call: relax.Call, args: list[Any]) -> Answer:
    data, attrs = args[0], call.attrs
    if data.order != channels_last(4) or str(attrs.layout) != "NCHW":
        return None
    return relax.op.image.resize2d(
        data.expr, call.args[1], tuple(float(each) for each in attrs.roi), "NHWC", attrs.method,
        attrs.coordinate_transformation_mode, attrs.rounding_method, attrs.cubic_alpha, attrs.cubic_exclude,
        attrs.extrapolation_value, attrs.out_dtype,
    ), data.order  # fmt: skip


#: rules of operators that work on channels by nature: a layer that has one is always rewritten
ANCHORS: dict[str, Rule] = {
    "relax.nn.conv1d": partial(_convolution, "NCW", "OIW"),
    "relax.nn.conv2d": partial(_convolution, "NCHW", "OIHW"),
    "relax.nn.conv1d_transpose": partial(_convolution, "NCW", "IOW"),
    "relax.nn.conv2d_transpose": partial(_convolution, "NCHW", "IOHW"),
    "relax.image.resize2d": _resize2d,
    **{f"relax.nn.{kind}_pool1d": partial(_pool, "NCW") for kind in ("max", "avg", "adaptive_avg")},
    **{f"relax.nn.{kind}_pool2d": partial(_pool, "NCHW") for kind in ("max", "avg", "adaptive_avg")},
}
