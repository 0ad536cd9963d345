"""Bring the layers that annotate-precision marked to QDQ form: operators of `main` between quantize and dequantize.

    Given:   h = conv2d_relu(x);  y = softmax(h)     weights of 8 bits, x and h held at 8 bits
    Result:  xq = quantize(x);  d = dequantize(xq);  w = dequantize(const int8);  b = dequantize(const int32)
             r = relu(add(conv2d(d, w), b));  hq = quantize(r);  hd = dequantize(hq);  y = softmax(hd)

lower-qdq makes integer layers of this, and fuse-activation layers; a layer that has to do with nothing quantised stays
the layer that it is. All readers of a tensor that is held as integers read its one quantiser, what crosses included;
only the network's own outputs are what was computed. A tensor of fewer than 8 bits is clipped to its 2^bits levels.

Weights are symmetric, with a scale for each output channel (calibration/weights.py); a bias has the scale of the sums
that it is added to. Weights of a layer whose data are not held as integers are rounded all the same. Weights of 16 bits
are float16, behind an astype to the float32 that they are computed with, whatever the data are held as. So is a tensor
that is held at 16 bits; a layer that only moves elements of such ones moves float16.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relax

from tvm_split import extract
from tvm_split.calibration.half_error import LARGEST_HALF
from tvm_split.calibration.weights import quantize_weights
from tvm_split.passes.annotate_precision import HALVES, HELD, WEIGHT_BITS, halves_by, held_by
from tvm_split.passes.bindings import bind, constant, log, operator
from tvm_split.passes.fold_batch_norm import layer_of
from tvm_split.passes.fuse_activation import ANCHORS
from tvm_split.passes.layering import LAYER, layer_calls, main_bindings, replace_main, substitute
from tvm_split.passes.quantize_cut import QUANTIZED
from tvm_split.passes.same_codes import only_moves
from tvm_split.passes.stored_weights import StoredWeights
from tvm_split.plan.precision import HALF_BITS
from tvm_split.quantizer import Quantizer

#: largest bias, in steps of its sums: half of what int32 holds, so that the products have the other half
LARGEST_BIAS = 2**30
#: what annotate-precision writes
MARKS = (WEIGHT_BITS, HELD, HALVES)
#: the least normal number: no scale is smaller
TINY = np.finfo(np.float32).tiny


@tvm.transform.module_pass(opt_level=0, name="QuantizeLayers")
class QuantizeLayers:
    """Rewrite the annotated layers of a module of layers, whole or a half; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        functions = [mod["main"], *(callee for _, callee in layer_calls(mod))]
        if not any(_marks(function) for function in functions):
            log.info("QuantizeLayers: nothing to do: no layer is annotated (pass annotate-precision)")
            return mod
        return _Rewrite(mod).finish()


class _Rewrite:
    """The function being built. `computed` has the tensors by name; `read` what readers of a held one read instead."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self.mod = mod
        self.main, bindings = main_bindings(mod)
        self.names = extract.tensor_names(mod)
        self.bindings: list[relax.VarBinding] = []
        self.functions = dict(mod.functions_items())
        self.computed: dict[str, relax.Expr] = {}
        self.read: dict[str, relax.Expr] = {}
        self.steps: dict[str, Quantizer] = {}
        self.flat: set[str] = set()  # tensors that operators of `main` make
        self.halves: dict[str, relax.Var] = {}  # tensors that are held as float16
        self.make([(param.name, param) for param in self.main.params], self.main)
        layers = {binding.var: callee for binding, callee in layer_calls(mod)}
        for binding in bindings:
            if binding.var in layers:
                self.add(binding, layers[binding.var])

    def make(
        self, made: Sequence[tuple[str, relax.Expr]], function: relax.Function, levels: Quantizer | None = None
    ) -> None:
        """Note the tensors that a layer makes, or `main` is given, whose values are of those levels already."""
        held, halves = held_by(function), halves_by(function)
        for name, value in made:
            self.computed[name] = value
            if name in halves:
                self.halves[name] = value if str(value.ty.dtype) == "float16" else self.half(value, name)
                self.read[name] = self.emit(relax.op.astype(self.halves[name], "float32"), f"{name}_wide")
            if name in held:
                self.steps[name] = held[name]
                codes = self.quantized(value, held[name], name, held[name] == levels)
                self.read[name] = self.emit(_dequantize(codes, held[name]), f"{name}_dequantized")

    def add(self, binding: relax.VarBinding, callee: relax.Function) -> None:
        made, call = self.names[binding.var], binding.value
        tensors = [name for arg in call.args for name in extract.resolve(arg, self.names) or ()]
        if QUANTIZED in callee.attrs and (self.read.keys() | self.flat) & set(tensors):
            value = self.sent(callee, call.args[0])
        elif not (_marks(callee) or self.read.keys() & set(tensors)):
            value = self.emit(relax.Call(call.op, [self.argument(arg) for arg in call.args]), binding.var.name)
        else:
            del self.functions[call.op]
            value = self.inlined(binding, callee)
            self.flat.update(made)
        parts = [value] if len(made) == 1 and not isinstance(value.ty, relax.TupleType) else [
            self.emit(relax.TupleGetItem(value, i), f"{binding.var.name}_{i}") for i in range(len(made))
        ]  # fmt: skip
        found = {self.steps.get(name) for name in tensors}
        levels = found.pop() if len(found) == 1 and only_moves(callee) else None
        self.make(list(zip(made, parts, strict=True)), callee, levels)

    def sent(self, callee: relax.Function, arg: relax.Expr) -> relax.Expr:
        """What quantize-cut added, with the operator quantize. A tensor held with the same quantiser has its codes."""
        facts = json.loads(str(callee.attrs[QUANTIZED]))
        quantizer = Quantizer(facts["bits"], facts["scale"], facts["zero_point"])
        return self.quantized(self.argument(arg), quantizer, str(callee.attrs[LAYER]))

    def inlined(self, binding: relax.VarBinding, callee: relax.Function) -> relax.Expr:
        """The layer's operators in `main`, with constant weights and bias as integers where it has a width."""
        layer, bits = str(callee.attrs[LAYER]), callee.attrs.get(WEIGHT_BITS)
        moves = self.moves_halves(binding, callee)
        inner = {param: self.argument(arg, moves) for param, arg in zip(callee.params, binding.value.args, strict=True)}
        steps = {
            param: self.steps.get((extract.resolve(arg, self.names) or ("",))[0])
            for param, arg in zip(callee.params, binding.value.args, strict=True)
        }
        items = [item for block in callee.body.blocks for item in block.bindings]
        sums: dict[relax.Var, np.ndarray] = {}  # with their scale for each output channel
        for i, item in enumerate(items):
            value = item.value
            if bits is not None and operator(value) in ANCHORS:
                data, bias = steps.get(value.args[0]), _bias_of(item.var, items)
                value, scale = self.weighed(value, int(bits), layer, data, bias)
                if scale is not None and data is not None:
                    sums[item.var] = np.maximum(scale * np.float32(data.scale), TINY)
            elif operator(value) == "relax.add" and value.args[0] in sums:
                value = self.biased(value, sums[value.args[0]], layer)
            name = layer if i == 0 else f"{layer}_out" if i == len(items) - 1 else item.var.name
            inner[item.var] = self.emit(_untyped(substitute(value, inner)) if moves else substitute(value, inner), name)
        return substitute(callee.body.body, inner)

    def moves_halves(self, binding: relax.VarBinding, callee: relax.Function) -> bool:
        """Whether the layer only moves elements, of what is float16 to what is float16: it has no need of others."""
        read = [name for arg in binding.value.args for name in extract.resolve(arg, self.names) or ()]
        made = self.names[binding.var]
        return only_moves(callee) and set(made) <= set(halves_by(callee)) and set(read) <= self.halves.keys()

    def weighed(
        self, call: relax.Call, bits: int, layer: str, data: Quantizer | None, bias: np.ndarray | None
    ) -> tuple[relax.Call, np.ndarray | None]:
        """The convolution or product with integer weights, and their scale for each output channel.

        A channel whose weights are all but 0 has wider steps, in which its bias is an int32.
        """
        found = layer_of(call)
        if found is None or found.weight.dtype != np.float32:
            log.info("QuantizeLayers: the weights of '%s' stay: they are no float32 constant", layer)
            return call, None
        if bits == HALF_BITS:
            return self.halved(call, found.weight, layer), None
        axis = found.kernel_layout.index("O")
        codes, scale = quantize_weights(found.weight, axis, bits)
        if data is not None and bias is not None and bias.size == scale.size:
            least = np.abs(bias).reshape(-1) / np.float32(data.scale * LARGEST_BIAS)
            if (scale < least).any():
                wide = np.maximum(scale, least).astype(np.float32)
                ratio = (scale / wide).reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
                codes, scale = np.rint(codes * ratio).astype(np.int8), wide
        zero = np.zeros(len(scale), "int8")
        integers = relax.op.dequantize(relax.const(codes), relax.const(scale), relax.const(zero), axis)
        return relax.Call(call.op, [call.args[0], self.emit(integers, f"{layer}_weight")], call.attrs), scale

    def halved(self, call: relax.Call, weight: np.ndarray, layer: str) -> relax.Call:
        """The convolution or product with weights that are float16 and computed with as float32."""
        stored = self.emit(StoredWeights.halves(weight, layer).expr(), f"{layer}_weight")
        return relax.Call(call.op, [call.args[0], stored], call.attrs)

    def biased(self, call: relax.Call, scale: np.ndarray, layer: str) -> relax.Call:
        """The bias in steps of the sums, int32, where it is one number for each channel."""
        data, other = call.args
        array = constant(other)
        if array is None or array.dtype != np.float32 or array.size != scale.size:
            return call
        codes = np.rint(array.astype(np.float64) / scale.astype(np.float64).reshape(array.shape))
        axis = max(range(array.ndim), key=lambda i: array.shape[i])
        zero = np.zeros(scale.size, "int32")
        integers = relax.op.dequantize(relax.const(codes.astype("int32")), relax.const(scale), relax.const(zero), axis)
        return relax.Call(call.op, [data, self.emit(integers, f"{layer}_bias")], call.attrs)

    def argument(self, arg: relax.Expr, as_halves: bool = False) -> relax.Expr:
        names = extract.resolve(arg, self.names) or ()
        values = [self.halves[name] if as_halves else self.read.get(name, self.computed[name]) for name in names]
        return relax.Tuple(values) if isinstance(arg.ty, relax.TupleType) else values[0]

    def quantized(self, value: relax.Expr, quantizer: Quantizer, name: str, bounded: bool = False) -> relax.Var:
        """The codes; a width that is not its dtype's own is a bound on what is quantised, unless that is bounded."""
        if quantizer.bits < 8 and not bounded:
            ends = ((code - quantizer.zero_point) * quantizer.scale for code in (0, 2**quantizer.bits - 1))
            value = self.emit(relax.op.clip(value, *ends), f"{name}_clipped")
        scale, zero = relax.const(np.float32(quantizer.scale)), relax.const(quantizer.zero_point, quantizer.dtype)
        return self.emit(relax.op.quantize(value, scale, zero, 0, quantizer.dtype), f"{name}_codes")

    def half(self, value: relax.Expr, name: str) -> relax.Var:
        """The tensor as float16; a number beyond those of the calibration becomes the largest, not an infinity."""
        bounded = self.emit(relax.op.clip(value, -LARGEST_HALF, LARGEST_HALF), f"{name}_clipped")
        return self.emit(relax.op.astype(bounded, "float16"), f"{name}_half")

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        return bind(self.bindings, name, value)

    def finish(self) -> tvm.IRModule:
        result = self.main.body.body
        names = extract.resolve(result, self.names) or ()
        values = [self.computed[name] for name in names]
        whole = relax.Tuple(values) if isinstance(result.ty, relax.TupleType) else values[0]
        out = relax.Var("result", result.ty)
        self.bindings.append(relax.VarBinding(out, whole))
        main = self.main
        for attribute in _marks(main):
            main = main.without_attr(attribute)
        rebuilt = replace_main(self.mod, main, self.bindings, out, self.functions)
        passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
        return tvm.transform.Sequential(passes)(rebuilt)


def _dequantize(codes: relax.Expr, quantizer: Quantizer) -> relax.Call:
    scale, zero = relax.const(np.float32(quantizer.scale)), relax.const(quantizer.zero_point, quantizer.dtype)
    return relax.op.dequantize(codes, scale, zero, 0)


def _marks(function: relax.Function) -> list[str]:
    return [mark for mark in MARKS if mark in (function.attrs or {})]


def _untyped(value: relax.Expr) -> relax.Expr:
    """The call without its type, which follows from what it is given now."""
    return relax.Call(value.op, value.args, value.attrs, value.ty_args) if isinstance(value, relax.Call) else value


def _bias_of(sums: relax.Var, items: list[relax.VarBinding]) -> np.ndarray | None:
    """The constant that is added to the sums."""
    for item in items:
        if operator(item.value) == "relax.add" and item.value.args[0].same_as(sums):
            return constant(item.value.args[1])
    return None
