"""Compute quantised networks on integers: convolutions and matrix products of codes, moves of codes.

    Given:   d = dequantize(x int8, sx, zx);  w = dequantize(const int8, sw, 0)
             b = dequantize(const int32, sx * sw, 0)
             c = conv2d(d, w, padding=1);  a = add(c, b);  r = relu(a);  q = quantize(r, sy, zy)
    Result:  p = nn.pad(x uint8, zx);  c = conv2d(p, const int8) int32;  s = add(c, const int32: bias - zx * sum(w))
             q = astype(clip(round(astype(s, float32) * (sx * sw / sy)) + zy, 0, 255), uint8)

 - Codes inside the network are uint8: an int8 tensor has 128 added to codes and zero point, except at the network's
   own inputs and outputs. Weights are int8 with zero point 0, scaled for each output channel or all; others stay in
   float32, and so does a layer whose sums may leave int32.
 - Such weights of a layer that stays in float32 stay int8, behind a dequantize, which its kernel computes.
 - A relu or clip before a quantize becomes the bounds of its clip. One that cuts off nothing disappears.
 - Sums that are not quantised again are multiplied by sx * sw, and the rest stays as it is.
 - What only moves or selects (reshape, max_pool2d, concat of tensors with one scale and zero point ...) works on codes.
 - quantize of a dequantize with the same scale and zero point is gone; what is left of both takes uint8.

Integer arithmetic is exact; float32(sum) * scale, rounded half to even, is what onnxruntime's CPU provider computes in
QLinearConv, QLinearMatMul and QGemm: equal to the last bit. So results differ from the float32 reading of the network
by one code at most, where that lies near the middle of two. They differ from onnxruntime's by as much where it computes
in float32 itself (on x86 some convolutions of int8 activations, whose dequantize several layers read) or by tables
(softmax), and by more on x86 without VNNI, where its products of uint8 and int8 saturate at 16 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import relax

from tvm_split.passes.bindings import constant, log, operator, scalar, static_shape
from tvm_split.passes.fold_constant import FoldConstant
from tvm_split.passes.fold_pad import constant_pad
from tvm_split.passes.layering import main_bindings
from tvm_split.passes.qdq_arithmetic import fits, integer_bias
from tvm_split.passes.qdq_layers import CONVOLUTIONS, codes, stored, sums
from tvm_split.passes.qdq_moves import changes_nothing, joined, moved, moves, padded, width_of
from tvm_split.passes.qdq_values import SHIFT, TOP, Fixed, Real, Recoded, Sums, fixed_of, steps_of
from tvm_split.passes.qdq_walk import Value, Walk

#: what widens stored weights: a float layer's stay as narrow as they are
KEPT = ("relax.dequantize", "relax.astype")


@tvm.transform.module_pass(opt_level=0, name="LowerQDQ")
@dataclass(frozen=True)
class LowerQdq:
    """Rewrite `main`, before it is made into layers; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        function, bindings = main_bindings(mod)
        if not any(operator(binding.value) in ("relax.quantize", "relax.dequantize") for binding in bindings):
            log.info("LowerQDQ: nothing to do: 'main' quantizes and dequantizes nothing")
            return mod
        walk = Walk(mod, function)
        for binding in bindings:
            walk.values[binding.var] = _visit(walk, binding)
        result = tvm.transform.Sequential([FoldConstant(KEPT)])(walk.finish())
        if tvm_ffi.structural_equal(mod, result):
            log.info("LowerQDQ: nothing to do: what quantizes or dequantizes in 'main' stands beside no integer layer")
            return mod
        return result


def _visit(walk: Walk, binding: relax.VarBinding) -> Value:
    """What the binding's variable holds; it is bound anew where no rule finds anything better."""
    var, value = binding.var, binding.value
    if isinstance(value, relax.Call):
        made = RULES.get(operator(value), _move)(walk, binding)
    else:
        made = walk.value(value)
        made = None if isinstance(made, relax.TupleGetItem) else made
    return walk.emit(walk.plain(value), var.name) if made is None else made


def _dequantize(walk: Walk, binding: relax.VarBinding) -> Value | None:
    call = binding.value
    fixed = fixed_of(call)
    if fixed is not None:
        return fixed
    steps = steps_of(call, str(call.args[0].ty.dtype))
    if steps is None or str(call.attrs.out_dtype) != "float32" or not isinstance(call.args[0], relax.Var):
        return None
    codes = walk.codes(call.args[0])
    return Real(codes, steps, *walk.zeros.get((codes, steps.zero), ()))


def _quantize(walk: Walk, binding: relax.VarBinding) -> Value | None:
    call, name, dtype = binding.value, binding.var.name, str(binding.value.attrs.out_dtype)
    steps, data = steps_of(call, dtype), walk.value(call.args[0])
    if steps is None or str(call.args[0].ty.dtype) != "float32" or not isinstance(call.args[0], relax.Var):
        return None
    key = (data, steps)
    if isinstance(data, Real) and data.steps == steps:
        made = data.codes
    elif key in walk.made:
        made = walk.made[key]
    else:
        if isinstance(data, Sums) and call.args[0] not in walk.shared:
            value = codes(walk.emit, data, steps, name)
        else:
            scale, zero = relax.const(steps.scale), relax.const(steps.zero, "uint8")
            value = relax.op.quantize(walk.plain(call.args[0]), scale, zero, 0, "uint8")
        made = walk.made[key] = walk.emit(value, name)
    return made if dtype == "uint8" else Recoded(made)


def _layer(walk: Walk, binding: relax.VarBinding) -> Value | None:
    data, weight = (walk.value(arg) for arg in binding.value.args)
    if not isinstance(weight, Fixed):
        return None
    if isinstance(data, Real):
        made = sums(walk.emit, binding.value, binding.var.name, data, weight)
        if isinstance(made, Sums):
            return made
        log.info("LowerQDQ: '%s' stays in float32: %s", binding.var.name, made)
    kept = stored(binding.value, weight)
    if kept is not None and weight not in walk.made:
        walk.made[weight] = walk.emit(kept.expr(), f"{binding.var.name}_weight")
    return None


def _add(walk: Walk, binding: relax.VarBinding) -> Value | None:
    """A bias, where it is a whole number of the sums' steps."""
    for data, other in (binding.value.args, reversed(binding.value.args)):
        made, bias = walk.value(data), walk.value(other)
        array = constant(bias) if isinstance(bias, relax.Expr) else None
        bias = bias if isinstance(bias, Fixed) else array
        if not isinstance(made, Sums) or made.origin is not None or bias is None:
            continue
        shape = bias.codes.shape if isinstance(bias, Fixed) else bias.shape
        if static_shape(binding.var) != static_shape(data) or not _of_channels(shape, made.axis):
            continue
        whole = integer_bias(bias.reshape((math.prod(shape),)), made.scale)
        if whole is None or not fits(made.reached, made.offset + whole):
            log.info(
                "LowerQDQ: the bias of '%s' stays in float32: it is no int32 in steps of the sums",
                binding.var.name,
            )
            continue
        return Sums(made.raw, made.offset + whole, made.scale, made.axis, made.reached)
    return None


def _clip(walk: Walk, binding: relax.VarBinding) -> Value | None:
    """An activation that only bounds, on sums or on codes that all lie between its bounds."""
    low, high = _bounds(binding.value)
    data = walk.value(binding.value.args[0])
    if isinstance(data, Real) and changes_nothing(low, high, data.steps):
        return data
    if isinstance(data, Recoded):
        made = relax.op.clip(data.codes, *(min(max(bound + SHIFT["int8"], 0), TOP) for bound in (low, high)))
        return Recoded(walk.emit(made, binding.var.name))
    if not isinstance(data, Sums) or binding.value.args[0] in walk.shared:
        return None  # a tensor that others read too is made once, and each clips or quantises that
    low, high = (min(max(bound, data.low), data.high) for bound in (low, high))
    return Sums(data.raw, data.offset, data.scale, data.axis, data.reached, low, high, binding)


def _fixed(walk: Walk, binding: relax.VarBinding) -> Value | None:
    """A constant's axes."""
    call, data, shape = binding.value, walk.value(binding.value.args[0]), static_shape(binding.var)
    if not isinstance(data, Fixed) or shape is None:
        return _move(walk, binding)
    if operator(call) != "relax.permute_dims":
        return data.reshape(shape)
    rank = len(shape)
    return data.transpose([int(axis) % rank for axis in call.attrs.axes or reversed(range(rank))])


def _pad(walk: Walk, binding: relax.VarBinding) -> Value | None:
    """A constant pad, also one that an importer wrote as loops."""
    call = binding.value
    pad = constant_pad(walk.scope, call)
    if pad is None:
        return _move(walk, binding)
    data = walk.value(pad.data)
    if not isinstance(data, Real):
        return None
    made = padded(pad, data.codes, data.steps)
    if made is None:
        return None
    codes = walk.emit(made, binding.var.name)
    if pad.value == 0:
        walk.zeros[codes, data.steps.zero] = (data.codes, width_of(pad))
    return Real(codes, data.steps, *walk.zeros.get((codes, data.steps.zero), ()))


def _concat(walk: Walk, binding: relax.VarBinding) -> Value | None:
    parts = walk.value(binding.value.args[0])
    if not isinstance(parts, list) or not parts:
        return None
    if all(isinstance(part, Recoded) for part in parts):
        return Recoded(walk.emit(joined(binding.value, [part.codes for part in parts]), binding.var.name))
    if all(isinstance(part, Real) and part.steps == parts[0].steps for part in parts):
        codes = [part.codes for part in parts]
        return Real(walk.emit(joined(binding.value, codes), binding.var.name), parts[0].steps)
    return None


def _move(walk: Walk, binding: relax.VarBinding) -> Value | None:
    call = binding.value
    if not moves(call):
        return None
    data = walk.value(call.args[0])
    if not isinstance(data, Real | Recoded):
        return None
    made = walk.emit(moved(call, data.codes), binding.var.name)

    def part(var: relax.Expr) -> Value:
        return Real(var, data.steps) if isinstance(data, Real) else Recoded(var)

    if not isinstance(made.ty, relax.TupleType):
        return part(made)
    fields = range(len(made.ty.fields))
    return [part(walk.emit(relax.TupleGetItem(made, i), f"{binding.var.name}_{i}")) for i in fields]


def _of_channels(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an array of that shape has one number for each channel, or one for all."""
    return math.prod(shape) == (shape[axis] if len(shape) >= -axis else 1)


def _bounds(call: relax.Call) -> tuple[float, float]:
    if operator(call) == "relax.clip":
        low, high = (scalar(arg) for arg in call.args[1:])
        return -math.inf if low is None else low, math.inf if high is None else high
    return 0.0, 6.0 if operator(call) == "relax.nn.relu6" else math.inf


RULES = {
    "relax.dequantize": _dequantize, "relax.quantize": _quantize, "relax.add": _add,
    "relax.matmul": _layer, **dict.fromkeys(CONVOLUTIONS, _layer),
    **dict.fromkeys(("relax.nn.relu", "relax.nn.relu6", "relax.clip"), _clip),
    **{f"relax.{name}": _fixed for name in ("reshape", "permute_dims", "squeeze", "expand_dims")},
    "relax.nn.pad": _pad, "relax.call_tir": _pad, "relax.concat": _concat,
}  # fmt: skip
