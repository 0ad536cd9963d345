"""Give a convolution or pooling the zeros that a separate pad put around its input.

    Given:   t = call_tir(pad, (x,)) [zeros: 1 row above, 2 below];  y = conv2d(t, w, padding=(0, 0, 0, 0))
    Result:  y = conv2d(x, w, padding=(1, 0, 2, 0))

So the ONNX importer spells Pad and auto_pad. Folds a constant pad of the spatial axes, written as relax.nn.pad or as
the loops of topi.nn.pad (recognised by comparing with what TOPI generates), into
 - a convolution, if it pads with 0;
 - an average pool, if it pads with 0, the pool counts its padding or has none, and does not round its size up;
 - a max pool, if it pads with -infinity, or with 0 what a relu made (or a clip at 0 or more) and no window lies in
   the padding alone.
Exact: the same numbers are added in the same order. Transposed convolutions stay: their padding crops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import tvm
import tvm_ffi
from tvm import relax, tirx, topi

from tvm_split.passes.bindings import Scope, is_te, operator, rewrite, scalar, static_shape

CONVOLUTIONS = {f"relax.nn.conv{n}d": getattr(relax.op.nn, f"conv{n}d") for n in (1, 2, 3)}
AVERAGES = {f"relax.nn.avg_pool{n}d": getattr(relax.op.nn, f"avg_pool{n}d") for n in (1, 2, 3)}
MAXIMA = {f"relax.nn.max_pool{n}d": getattr(relax.op.nn, f"max_pool{n}d") for n in (1, 2, 3)}


class Pad(NamedTuple):
    """`data` with `before` and `after` elements of `value` around each axis."""

    data: relax.Expr
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float


@tvm.transform.module_pass(opt_level=0, name="FoldPad")
@dataclass(frozen=True)
class FoldPad:
    """Move a constant pad into the convolution or pooling after it; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite(mod, "FoldPad", _visit, "constant pad before a convolution or pooling")


def _visit(scope: Scope, binding: relax.VarBinding) -> relax.Expr | None:
    call, name = binding.value, operator(binding.value)
    if name not in {**CONVOLUTIONS, **AVERAGES, **MAXIMA}:
        return None
    source = scope.call(call.args[0], "relax.nn.pad", "relax.call_tir")
    pad = constant_pad(scope, source) if source is not None else None
    if pad is None:
        return None
    attrs = call.attrs
    layout = str(attrs.data_layout if name in CONVOLUTIONS else attrs.layout)
    if not layout.isupper() or any(pad.before[i] or pad.after[i] for i in (layout.index("N"), layout.index("C"))):
        scope.skip(binding.var, f"the pad before it touches more than the spatial axes of {layout}")
        return None
    spatial = [i for i, axis in enumerate(layout) if axis not in "NC"]
    old = [int(p) for p in attrs.padding]
    new = [p + q for p, q in zip(old, [pad.before[i] for i in spatial] + [pad.after[i] for i in spatial], strict=True)]
    if name in CONVOLUTIONS:
        if pad.value != 0:
            scope.skip(binding.var, f"the pad before it fills with {pad.value}, expected 0")
            return None
        return CONVOLUTIONS[name](
            pad.data, call.args[1], strides=attrs.strides, padding=new, dilation=attrs.dilation,
            groups=attrs.groups, data_layout=layout, kernel_layout=attrs.kernel_layout,
            out_layout=attrs.out_layout, out_dtype=attrs.out_dtype,
        )  # fmt: skip
    reason = _average(pad, attrs, old) if name in AVERAGES else _maximum(scope, pad, attrs, old)
    if reason:
        scope.skip(binding.var, reason)
        return None
    counts = True if name in AVERAGES else attrs.count_include_pad
    return {**AVERAGES, **MAXIMA}[name](
        pad.data, attrs.pool_size, attrs.strides, new, attrs.dilation, attrs.ceil_mode, counts, layout, attrs.out_layout
    )


def _average(pad: Pad, attrs: tvm.ir.Attrs, old: list[int]) -> str:
    """Why an average pool cannot take the pad; empty if it can."""
    if pad.value != 0:
        return f"the pad before it fills with {pad.value}, expected 0"
    if any(old) and not attrs.count_include_pad:
        return "it has padding of its own that it does not count"
    return "it rounds its size up (ceil_mode), so its last window may be smaller" if attrs.ceil_mode else ""


def _maximum(scope: Scope, pad: Pad, attrs: tvm.ir.Attrs, old: list[int]) -> str:
    """Why a max pool cannot take the pad; empty if it can."""
    if attrs.ceil_mode:
        return "it rounds its size up (ceil_mode), so its last window may lie in the padding alone"
    if math.isinf(pad.value) and pad.value < 0 and str(pad.data.ty.dtype).startswith("float"):
        return ""
    call = scope.call(pad.data, "relax.nn.relu", "relax.clip")
    positive = call is not None and (operator(call) == "relax.nn.relu" or float(call.args[1].value) >= 0)
    if pad.value != 0 or not positive:
        return f"the pad before it fills with {pad.value}, expected -infinity, or 0 after a relu"
    windows = [int(k) for k in attrs.pool_size] * 2
    spatial = [p for p in zip(pad.before, pad.after, strict=True)][-len(attrs.pool_size) :]
    if str(attrs.layout).endswith("C"):
        spatial = [p for p in zip(pad.before, pad.after, strict=True)][1:-1]
    total = [p + q for p, q in zip(old, [b for b, _ in spatial] + [a for _, a in spatial], strict=True)]
    if any(int(d) != 1 for d in attrs.dilation) or any(p >= k for p, k in zip(total, windows, strict=True)):
        return f"a window of {list(attrs.pool_size)} may lie in the padding {total} alone"
    return ""


def constant_pad(scope: Scope, call: relax.Call) -> Pad | None:
    """The constant pad that a call makes, None if it makes anything else."""
    if operator(call) == "relax.nn.pad":
        width = [int(w) for w in call.attrs.pad_width]
        value = scalar(call.args[1]) if len(call.args) > 1 else float(call.attrs.pad_value)
        if str(call.attrs.pad_mode) != "constant" or value is None or min(width, default=0) < 0:
            return None
        return Pad(call.args[0], tuple(width[0::2]), tuple(width[1::2]), value)
    if len(call.args) != 2 or not isinstance(call.args[1], relax.Tuple) or len(call.args[1].fields) != 1:
        return None
    data = call.args[1].fields[0]
    small, large = static_shape(data), static_shape(call)
    if small is None or large is None or len(small) != len(large):
        return None
    loads: list[tvm.ir.TensorLoad] = []
    floats: list[float] = []
    body = scope.mod[call.args[0]].body
    tvm_ffi.structural_walk(
        body, [(tvm.ir.TensorLoad, loads.append), (tirx.FloatImm, lambda imm: floats.append(imm.value))]
    )
    if not loads:
        return None
    before = tuple(_offset(index) for index in loads[0].indices)
    after = tuple(big - low - size for big, low, size in zip(large, before, small, strict=True))
    if min((*before, *after), default=0) < 0:
        return None
    for value in floats or (0,):
        if is_te(scope, call, topi.nn.pad, data, list(before), list(after), value):
            return Pad(data, before, after, value)
    return None


def _offset(index: tvm.ir.Expr) -> int:
    """k of an index written as loop variable - k."""
    return int(index.b.value) if isinstance(index, tirx.Sub) and isinstance(index.b, tirx.IntImm) else 0
