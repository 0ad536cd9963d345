"""Compute quantised networks on integers: convolutions and matrix products of codes, moves of codes.

    Given:   d = dequantize(x int8, sx, zx);  w = dequantize(const int8, sw, 0)
             b = dequantize(const int32, sx * sw, 0)
             c = conv2d(d, w, padding=1);  a = add(c, b);  r = relu(a);  q = quantize(r, sy, zy)
    Result:  p = nn.pad(x uint8, zx);  c = conv2d(p, const int8) int32;  s = add(c, const int32: bias - zx * sum(w))
             q = astype(clip(round(astype(s, float32) * (sx * sw / sy)) + zy, 0, 255), uint8)

 - Codes inside the network are uint8: an int8 tensor has 128 added to codes and zero point, except at the network's
   own inputs and outputs. Weights are int8 with zero point 0, scaled for each output channel or all; others stay in
   float32, and so does a layer whose sums may leave int32.
 - A relu or clip before a quantize becomes the bounds of its clip. One that cuts off nothing disappears.
 - Sums that are not quantised again are multiplied by sx * sw, and the rest stays as it is.
 - What only moves or selects (reshape, max_pool2d, concat of tensors with one scale and zero point ...) works on codes.
 - quantize of a dequantize with the same scale and zero point is gone; what is left of both takes uint8.

Integer arithmetic is exact; float32(sum) * scale, rounded half to even, is what onnxruntime's CPU provider computes. So
results differ from the float32 reading of the network by one code at most, where that lies near the middle of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import relax

from tvm_split.passes.bindings import constant, log, operator, scalar, static_shape
from tvm_split.passes.fold_constant import FoldConstant
from tvm_split.passes.layering import free_vars, main_bindings, replace_main, substitute
from tvm_split.passes.qdq_arithmetic import fits, integer_bias
from tvm_split.passes.qdq_layers import CONVOLUTIONS, codes, reals, sums
from tvm_split.passes.qdq_moves import changes_nothing, joined, moved, moves, padded
from tvm_split.passes.qdq_values import SHIFT, TOP, Fixed, Real, Recoded, Sums, Value, fixed_of, steps_of

Values = Value | list["Values"]  # a tuple's parts


@tvm.transform.module_pass(opt_level=0, name="LowerQDQ")
@dataclass(frozen=True)
class LowerQdq:
    """Rewrite `main`, before it is made into layers; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        function, bindings = main_bindings(mod)
        if not any(operator(binding.value) in ("relax.quantize", "relax.dequantize") for binding in bindings):
            log.info("LowerQDQ: nothing to do: 'main' quantizes and dequantizes nothing")
            return mod
        main = _Main(function)
        for binding in bindings:
            main.visit(binding)
        result = FoldConstant(keep=())(main.finish(mod))
        if tvm_ffi.structural_equal(mod, result):
            log.info("LowerQDQ: nothing to do: what quantizes or dequantizes in 'main' stands beside no integer layer")
            return mod
        return result


class _Main:
    """The function being built. `values` tells what each old variable holds, `made` where its reals are by now."""

    def __init__(self, function: relax.Function) -> None:
        self.function = function
        self.values: dict[relax.Var, Values] = {param: param for param in function.params}
        self.made: dict[object, relax.Var] = {}
        self.bindings: list[relax.VarBinding] = []

    def finish(self, mod: tvm.IRModule) -> tvm.IRModule:
        result = self.function.body.body
        out = relax.Var(result.name if isinstance(result, relax.Var) else "result", result.ty)
        self.bindings.append(relax.VarBinding(out, self.plain(result)))
        functions = dict(mod.functions_items())
        rebuilt = replace_main(mod, self.function, self.bindings, out, functions)
        passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
        return tvm.transform.Sequential(passes)(rebuilt)

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        value = relax.BlockBuilder().normalize(value)
        var = relax.DataflowVar(name, value.ty)
        self.bindings.append(relax.VarBinding(var, value))
        return var

    def value(self, expr: relax.Expr) -> Values:
        """What is behind an argument: through tuples and their parts."""
        if isinstance(expr, relax.Var):
            return self.values[expr]
        if isinstance(expr, relax.Tuple):
            return [self.value(part) for part in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            whole = self.value(expr.tuple_value)
            return whole[expr.index] if isinstance(whole, list) else relax.TupleGetItem(whole, expr.index)
        return expr

    def plain(self, expr: relax.Expr) -> relax.Expr:
        """The expression as it was, of variables that hold what they held."""
        return substitute(expr, {var: self.held(self.values[var], var) for var in free_vars(expr)})

    def held(self, value: Values, var: relax.Var) -> relax.Expr:
        """What `var` held, computed where it is not there yet."""
        if isinstance(value, list):
            return relax.Tuple([self.held(part, var) for part in value])
        if isinstance(value, relax.Expr):
            return value
        key = (value.codes, value.steps) if isinstance(value, Real) else value
        if key not in self.made:
            self.made[key] = self.compute(value, var.name)
        return self.made[key]

    def compute(self, value: Recoded | Real | Sums | Fixed, name: str) -> relax.Expr:
        if isinstance(value, Fixed):
            return relax.const(value.reals(), "float32")
        if isinstance(value, Real):
            steps = value.steps
            made = relax.op.dequantize(value.codes, relax.const(steps.scale), relax.const(steps.zero, "uint8"), 0)
        elif isinstance(value, Recoded):
            wide = self.emit(relax.op.astype(value.codes, "int16"), f"{name}_wide")
            made = relax.op.astype(
                self.emit(relax.op.subtract(wide, relax.const(SHIFT["int8"], "int16")), f"{name}_shifted"), "int8"
            )
        elif value.origin is not None:
            made = self.plain(value.origin.value)
        else:
            made = reals(self.emit, value, name)
        return self.emit(made, name)

    def visit(self, binding: relax.VarBinding) -> None:
        var, value = binding.var, binding.value
        if not isinstance(value, relax.Call):
            made = self.value(value)
            is_part = isinstance(made, relax.TupleGetItem)
            self.values[var] = self.emit(self.plain(value), var.name) if is_part else made
            return
        rule = RULES.get(operator(value), _Main.move)
        made = rule(self, binding)
        self.values[var] = self.emit(self.plain(value), var.name) if made is None else made

    def dequantize(self, binding: relax.VarBinding) -> Values | None:
        call = binding.value
        fixed = fixed_of(call)
        if fixed is not None:
            return fixed
        steps = steps_of(call, str(call.args[0].ty.dtype))
        if steps is None or str(call.attrs.out_dtype) != "float32" or not isinstance(call.args[0], relax.Var):
            return None
        return Real(self.codes(call.args[0]), steps)

    def codes(self, var: relax.Var) -> relax.Var:
        """The integer tensor as uint8."""
        value = self.values[var]
        if isinstance(value, Recoded):
            return value.codes
        held = self.held(value, var)
        if str(var.ty.dtype) == "uint8":
            return held
        if (key := ("uint8", held)) not in self.made:
            wide = self.emit(relax.op.astype(held, "int16"), f"{var.name}_wide")
            shifted = self.emit(relax.op.add(wide, relax.const(SHIFT["int8"], "int16")), f"{var.name}_shifted")
            self.made[key] = self.emit(relax.op.astype(shifted, "uint8"), f"{var.name}_uint8")
        return self.made[key]

    def quantize(self, binding: relax.VarBinding) -> Values | None:
        call, name, dtype = binding.value, binding.var.name, str(binding.value.attrs.out_dtype)
        steps, data = steps_of(call, dtype), self.value(call.args[0])
        if steps is None or str(call.args[0].ty.dtype) != "float32" or not isinstance(call.args[0], relax.Var):
            return None
        key = (data, steps)
        if isinstance(data, Real) and data.steps == steps:
            made = data.codes
        elif key in self.made:
            made = self.made[key]
        else:
            if isinstance(data, Sums):
                value = codes(self.emit, data, steps, name)
            else:
                scale, zero = relax.const(steps.scale), relax.const(steps.zero, "uint8")
                value = relax.op.quantize(self.plain(call.args[0]), scale, zero, 0, "uint8")
            made = self.made[key] = self.emit(value, name)
        return made if dtype == "uint8" else Recoded(made)

    def layer(self, binding: relax.VarBinding) -> Values | None:
        data, weight = (self.value(arg) for arg in binding.value.args)
        if not isinstance(data, Real) or not isinstance(weight, Fixed):
            return None
        made = sums(self.emit, binding.value, binding.var.name, data, weight)
        if isinstance(made, Sums):
            return made
        log.info("LowerQDQ: '%s' stays in float32: %s", binding.var.name, made)
        return None

    def add(self, binding: relax.VarBinding) -> Values | None:
        """A bias, where it is a whole number of the sums' steps."""
        for data, other in (binding.value.args, reversed(binding.value.args)):
            made, bias = self.value(data), self.value(other)
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

    def clip(self, binding: relax.VarBinding) -> Values | None:
        """An activation that only bounds, on sums or on codes that all lie between its bounds."""
        low, high = _bounds(binding.value)
        data = self.value(binding.value.args[0])
        if isinstance(data, Real) and changes_nothing(low, high, data.steps):
            return data
        if isinstance(data, Recoded):
            made = relax.op.clip(data.codes, *(min(max(bound + SHIFT["int8"], 0), TOP) for bound in (low, high)))
            return Recoded(self.emit(made, binding.var.name))
        if not isinstance(data, Sums):
            return None
        low, high = (min(max(bound, data.low), data.high) for bound in (low, high))
        return Sums(data.raw, data.offset, data.scale, data.axis, data.reached, low, high, binding)

    def fixed(self, binding: relax.VarBinding) -> Values | None:
        """A constant's axes."""
        call, data, shape = binding.value, self.value(binding.value.args[0]), static_shape(binding.var)
        if not isinstance(data, Fixed) or shape is None:
            return self.move(binding)
        if operator(call) != "relax.permute_dims":
            return data.reshape(shape)
        rank = len(shape)
        return data.transpose([int(axis) % rank for axis in call.attrs.axes or reversed(range(rank))])

    def pad(self, binding: relax.VarBinding) -> Values | None:
        data = self.value(binding.value.args[0])
        if not isinstance(data, Real):
            return None
        made = padded(binding.value, data.codes, data.steps)
        return None if made is None else Real(self.emit(made, binding.var.name), data.steps)

    def concat(self, binding: relax.VarBinding) -> Values | None:
        parts = self.value(binding.value.args[0])
        if not isinstance(parts, list) or not parts:
            return None
        if all(isinstance(part, Recoded) for part in parts):
            return Recoded(self.emit(joined(binding.value, [part.codes for part in parts]), binding.var.name))
        if all(isinstance(part, Real) and part.steps == parts[0].steps for part in parts):
            codes = [part.codes for part in parts]
            return Real(self.emit(joined(binding.value, codes), binding.var.name), parts[0].steps)
        return None

    def move(self, binding: relax.VarBinding) -> Values | None:
        call = binding.value
        if not moves(call):
            return None
        data = self.value(call.args[0])
        if not isinstance(data, Real | Recoded):
            return None
        made = self.emit(moved(call, data.codes), binding.var.name)

        def part(var: relax.Expr) -> Values:
            return Real(var, data.steps) if isinstance(data, Real) else Recoded(var)

        if not isinstance(made.ty, relax.TupleType):
            return part(made)
        fields = range(len(made.ty.fields))
        return [part(self.emit(relax.TupleGetItem(made, i), f"{binding.var.name}_{i}")) for i in fields]


def _of_channels(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an array of that shape has one number for each channel, or one for all."""
    return math.prod(shape) == (shape[axis] if len(shape) >= -axis else 1)


def _bounds(call: relax.Call) -> tuple[float, float]:
    if operator(call) == "relax.clip":
        low, high = (scalar(arg) for arg in call.args[1:])
        return -math.inf if low is None else low, math.inf if high is None else high
    return 0.0, 6.0 if operator(call) == "relax.nn.relu6" else math.inf


RULES = {
    "relax.dequantize": _Main.dequantize, "relax.quantize": _Main.quantize, "relax.add": _Main.add,
    "relax.matmul": _Main.layer, **dict.fromkeys(CONVOLUTIONS, _Main.layer),
    **dict.fromkeys(("relax.nn.relu", "relax.nn.relu6", "relax.clip"), _Main.clip),
    **{f"relax.{name}": _Main.fixed for name in ("reshape", "permute_dims", "squeeze", "expand_dims")},
    "relax.nn.pad": _Main.pad, "relax.concat": _Main.concat,
}  # fmt: skip
