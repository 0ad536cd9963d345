"""Lay constant weights out for the processor and compute with kernels of our own, which schedule rules make fast.

    Given:   c = nn.conv2d(x, HWIO const, data_layout="NHWC");         m = matmul(x, const);   d = depthwise conv2d
    Result:  c = call_tir(conv2d_packed, (x, const [tiles][KH][KW][I][T]));  m = call_tir(matmul_packed, ...);  d = ...

Convolutions that choose-winograd marked become conv2d_winograd (pack_winograd.py).
Also for convolutions of one axis, transposed ones, products of two activations and softmax: pack_others.py.

It stands after channels-last and before LegalizeOps. T, the output channels to a tile, is the target's; see
schedule/tiles.py. Packed weights that are equal are one constant. The constant of a matmul may stand behind a
permute_dims. Floats (float32, and float16 where the target has vectors of it) keep the operator's arithmetic, with sums
in the order of kh, kw, ic, but for the layers that choose-winograd marked. Sums of uint8 data and int8 weights are
exact, in int32, and an nn.pad of their data by one value that nobody else reads becomes part of the kernel. What is of
other types, has symbolic shapes or is laid out otherwise stays; the log says why.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import tvm
from tvm import relax, te
from tvm.target import codegen

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.conv2d_merged import conv2d_merged
from tvm_split.passes.kernels.depthwise import depthwise_conv2d
from tvm_split.passes.kernels.depthwise_int8 import depthwise_int8
from tvm_split.passes.kernels.matmul import matmul_packed, pack_matmul
from tvm_split.passes.kernels.widened import widened
from tvm_split.passes.layering import WINOGRAD
from tvm_split.passes.pack_int8 import Kernel, conv2d_int8, matmul_int8
from tvm_split.passes.pack_others import OTHERS, column, product_of_two
from tvm_split.passes.pack_stored import held_as_half, stored_parts, weights_of, widening, widens_halves
from tvm_split.passes.pack_winograd import winograd
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tasks import conv_tile_of
from tvm_split.passes.schedule.tiles import MIN_LANES, tile_of
from tvm_split.passes.stored_weights import StoredWeights

log = logging.getLogger("tvm_split.passes")

#: types of data, weights and result that there are kernels for
FLOATS, INTEGERS = ("float32", "float32", "float32"), ("uint8", "int8", "int32")
#: likewise, where the target multiplies vectors of them; elsewhere a conversion stands between any two operations
HALVES = ("float16", "float16", "float16")
#: registers that LLVM needs beside a tile of halves
HALVES_SPARE = 2


@tvm.transform.module_pass(opt_level=0, name="PackWeights")
@dataclass(frozen=True)
class PackWeights:
    """Pack for the target; see the file's docstring."""

    target: Any  # a tvm.target.Target, or what makes one

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        packer = _Packer(mod, tvm.target.Target(self.target))
        for gvar, function in mod.functions_items():
            if isinstance(function, relax.Function) and not (function.attrs or {}).get("Primitive"):
                packer.readers, packer.marked = readers(function), bool((function.attrs or {}).get(WINOGRAD))
                packed = packer.visit_expr(function)
                if packer.take_changed():
                    packer.builder_.update_func(gvar, relax.analysis.remove_all_unused(packed))
        if not packer.count:
            log.info("PackWeights: nothing to do: no operator has a kernel of ours")
            return mod
        log.info("PackWeights: %d operators, %d weights packed", packer.count, len(packer.packed))
        return packer.builder_.get()


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):
    """Rewrites functions; `packed` holds what weights became, so that equal ones are kept once."""

    def __init__(self, mod: tvm.IRModule, target: tvm.target.Target) -> None:
        super().__init__(mod)
        self.target, self.machine = target, machine_of(target)
        halves = codegen.target_has_features("fullfp16", target)
        self.types = (FLOATS, INTEGERS, HALVES) if halves else (FLOATS, INTEGERS)
        self.widens = widens_halves(target)
        self.packed: dict[object, relax.Expr] = {}
        self.readers: dict[relax.Var, int] = {}
        self.marked = False  # by choose-winograd
        self.stored: StoredWeights | None = None  # what the weights of the call are widened from
        self.count = 0
        self.changed = False

    def take_changed(self) -> bool:
        changed, self.changed = self.changed, False
        return changed

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        read = call.args[0] if call.args else None
        call, self.stored = super().visit_call_(call), None
        rules: dict[str, Callable[[relax.Call], relax.Expr | str]] = {
            "relax.nn.conv2d": partial(self.conv2d, only_reader=self.readers.get(read) == 1),
            "relax.matmul": self.matmul,
            **{name: partial(rule, self) for name, rule in OTHERS.items()},
        }
        rule = rules.get(operator(call))
        replaced = rule(call) if rule is not None else None
        if isinstance(replaced, str):
            log.info("PackWeights: %s of %s stays: %s", operator(call), static_shape(call.args[0]), replaced)
            return call
        if replaced is None:
            return call
        self.count += 1
        self.changed = True
        return replaced

    def conv2d(self, call: relax.Call, only_reader: bool) -> relax.Expr | str:
        attrs, data, weight = call.attrs, call.args[0], self.weight(call.args[1])
        shape = static_shape(data)
        layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
        if layouts != ("NHWC", "HWIO", "NHWC"):
            return f"its layouts are {', '.join(layouts)}, expected NHWC, HWIO, NHWC"
        if shape is None or weight is None or _types(data, weight, call) not in self.types:
            return "it has no constant weights of float32, int8 for uint8 data or (fullfp16) float16, or no known shape"
        kernel_h, kernel_w, inner, channels = weight.shape
        strides, padding, dilation = ([int(n) for n in each] for each in (attrs.strides, attrs.padding, attrs.dilation))
        groups, pad_value = int(attrs.groups), 0
        integers = weight.dtype == "int8"
        if integers and only_reader:
            data, padding, pad_value = self.unpadded(data, padding)
        if groups == shape[-1] == channels and groups > 1:
            return self.depthwise(data, weight, strides, padding, dilation, pad_value)
        if (kernel_h, kernel_w, groups, *strides, *padding) == (1, 1, 1, 1, 1, 0, 0, 0, 0):
            return self.product(data, weight[0, 0])
        (_, *shape_out, _), terms = static_shape(call) or (), kernel_h * kernel_w * inner
        if integers:
            kernel = conv2d_int8(weight, self.target, shape_out[1], strides, padding, dilation, groups, pad_value)
            return self.integers(data, kernel)
        if groups > 1 and channels // groups % MIN_LANES:
            return f"its groups have {channels // groups} output channels, no multiple of {MIN_LANES}"
        found = column(self, call, weight) if str(weight.dtype) == "float32" else None
        if found is not None:
            return found
        if self.marked:
            return winograd(self, call, weight)
        machine, dtype = self.fitting(weight), str(weight.dtype)
        if groups > 1:
            tile = tile_of(machine, shape_out[1], channels // groups, terms, dtype, exact=True)
        else:
            window = kernel_h, kernel_w, inner
            tile = conv_tile_of(
                machine, (shape_out[0], shape_out[1]), channels, window, strides[0], dtype, padded=any(padding)
            )
        literals = self.literals(pack_conv2d(weight, tile.channels))

        def conv2d(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
            if tile.merged:
                return conv2d_merged(x, widened(x, *w), channels, tile, strides, padding, dilation)
            return conv2d_packed(x, widened(x, *w), channels, tile, strides, padding, dilation, groups)

        return self.computed(conv2d, data, *literals)

    def unpadded(self, data: relax.Expr, padding: list[int]) -> tuple[relax.Expr, list[int], int]:
        """The data of an nn.pad of rows and columns, and the padding with that of the nn.pad added; its value."""
        pad = self.lookup_binding(data) if isinstance(data, relax.Var) else None
        if pad is None or operator(pad) != "relax.nn.pad" or str(pad.attrs.pad_mode) != "constant":
            return data, padding, 0
        widths, value = [int(n) for n in pad.attrs.pad_width], float(pad.attrs.pad_value)
        outer, (top, bottom, left, right) = (*widths[:2], *widths[6:]), widths[2:6]
        if any(outer) or min(widths) < 0 or (any(padding) and value) or value not in range(256):
            return data, padding, 0
        added = zip(padding, (top, left, bottom, right), strict=True)
        return pad.args[0], [own + other for own, other in added], int(value)

    def depthwise(
        self, data: relax.Expr, weight: np.ndarray, strides: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], pad_value: int = 0,
    ) -> relax.Expr:  # fmt: skip
        if weight.dtype == "int8":
            window = weight[:, :, 0, :]
            packed, kernel = depthwise_int8(window, self.target, strides, padding, dilation, pad_value)
            return self.builder_.call_te(kernel, data, self.literal(packed))
        literals = self.literals(np.ascontiguousarray(weight[:, :, 0, :]), tiled=False)

        def depthwise(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
            return depthwise_conv2d(x, widened(x, *w), strides, padding, dilation, pad_value)

        return self.computed(depthwise, data, *literals)

    def matmul(self, call: relax.Call) -> relax.Expr | str:
        data, weight = call.args[0], self.weight(call.args[1])
        shape = static_shape(data)
        if weight is None or weight.ndim != 2:
            return product_of_two(self, call)
        if shape is None or len(shape) < 2 or _types(data, weight, call) not in self.types:
            return f"its data are {data.ty}, expected float32 or uint8 of two or more known dimensions"
        return self.product(data, weight)

    def product(self, data: relax.Expr, weight: np.ndarray) -> relax.Expr:
        """Rows of all leading dimensions times the weights [K][N]."""
        rows, (terms, channels) = prod((static_shape(data) or ())[:-1]), weight.shape
        if weight.dtype == "int8":
            return self.integers(data, matmul_int8(weight, self.target, rows))
        tile = tile_of(self.fitting(weight), rows, channels, terms, str(weight.dtype), copies=True)
        literals = self.literals(pack_matmul(weight, tile.channels))

        def matmul(x: te.Tensor, *w: te.Tensor) -> te.Tensor:
            return matmul_packed(x, widened(x, *w), channels, tile)

        return self.computed(matmul, data, *literals)

    def integers(self, data: relax.Expr, kernel: Kernel) -> relax.Expr:
        literals = [self.literal(packed) for packed in kernel.constants]
        return self.builder_.call_te(kernel.compute, data, *literals, primfunc_name_hint=kernel.name)

    def computed(self, kernel: Callable[..., te.Tensor], data: relax.Expr, *others: relax.Expr) -> relax.Expr:
        """The call of a float kernel. It reads data that are held as float16 itself, in place of what widens them."""
        held = held_as_half(self.lookup_binding, data)
        if held is None:
            return self.builder_.call_te(kernel, data, *others)
        return self.builder_.call_te(widening(kernel), held, *others, primfunc_name_hint=kernel.__name__)

    def fitting(self, weight: np.ndarray) -> Machine:
        """The machine as tiles of such weights see it."""
        spare = HALVES_SPARE if weight.dtype == "float16" else 0
        return replace(self.machine, registers=self.machine.registers - spare)

    def weight(self, expr: relax.Expr) -> np.ndarray | None:
        """The array of a constant, or of one behind a permute_dims; float32 of one that is stored narrower."""
        array, self.stored = weights_of(self.lookup_binding, expr)
        return array

    def literals(self, packed: np.ndarray, tiled: bool | None = True) -> list[relax.Expr]:
        """What a float kernel takes for its weights: in the form that they are stored in; see pack_stored.py."""
        return [self.literal(part) for part in stored_parts(packed, self.stored, tiled, bits=not self.widens)]

    def literal(self, packed: np.ndarray) -> relax.Expr:
        """The constant of packed weights, one for all that are equal."""
        key = (str(packed.dtype), packed.shape, hashlib.sha256(np.ascontiguousarray(packed).data).digest())
        if key not in self.packed:
            self.packed[key] = relax.const(packed)
        return self.packed[key]


def _types(data: relax.Expr, weight: np.ndarray, call: relax.Call) -> tuple[str, str, str]:
    return str(data.ty.dtype), str(weight.dtype), str(call.ty.dtype)


def readers(function: relax.Function) -> dict[relax.Var, int]:
    """How many bindings read each variable; the result counts as one."""
    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    return Counter(var for value in (*values, function.body.body) for var in relax.analysis.free_vars(value))
