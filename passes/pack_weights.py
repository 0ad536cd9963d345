"""Lay constant weights out for the processor and compute with kernels of our own, which schedule rules make fast.

    Given:   c = nn.conv2d(x, HWIO const, data_layout="NHWC");         m = matmul(x, const);   d = depthwise conv2d
    Result:  c = call_tir(conv2d_packed, (x, const [tiles][KH][KW][I][T]));  m = call_tir(matmul_packed, ...);  d = ...

Convolutions are in pack_convolution.py; those that choose-winograd marked become conv2d_winograd (pack_winograd.py).
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
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import tvm
from tvm import relax, te
from tvm.target import codegen

from tvm_split.passes.bindings import operator, static_shape
from tvm_split.passes.kernels.matmul import matmul_packed, pack_matmul
from tvm_split.passes.kernels.widened import widened
from tvm_split.passes.layering import WINOGRAD
from tvm_split.passes.pack_convolution import conv2d
from tvm_split.passes.pack_int8 import Kernel, matmul_int8
from tvm_split.passes.pack_others import OTHERS, product_of_two
from tvm_split.passes.pack_stored import held_as_half, stored_parts, weights_of, widening, widens_halves
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tiles import tile_of
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
            "relax.nn.conv2d": partial(conv2d, self, only_reader=self.readers.get(read) == 1),
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

    def matmul(self, call: relax.Call) -> relax.Expr | str:
        data, weight = call.args[0], self.weight(call.args[1])
        shape = static_shape(data)
        if weight is None or weight.ndim != 2:
            return product_of_two(self, call)
        if shape is None or len(shape) < 2 or not self.computes(data, weight, call):
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

    def computes(self, data: relax.Expr, weight: np.ndarray, call: relax.Call) -> bool:
        """Whether there are kernels for these types."""
        return (str(data.ty.dtype), str(weight.dtype), str(call.ty.dtype)) in self.types

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


def readers(function: relax.Function) -> dict[relax.Var, int]:
    """How many bindings read each variable; the result counts as one."""
    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    return Counter(var for value in (*values, function.body.body) for var in relax.analysis.free_vars(value))
