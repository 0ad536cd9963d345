"""Lay constant weights out for the processor and compute with kernels of our own, which schedule rules make fast.

    Given:   c = nn.conv2d(x, HWIO const, data_layout="NHWC");         m = matmul(x, const);   d = depthwise conv2d
    Result:  c = call_tir(conv2d_packed, (x, const [tiles][KH][KW][I][T]));  m = call_tir(matmul_packed, ...);  d = ...

It stands after channels-last and before LegalizeOps. T, the output channels to a tile, is the target's; see
schedule/tiles.py. Weights that several layers share are packed once. The constant of a matmul may stand behind a
permute_dims. What is not float32, has symbolic shapes or is laid out otherwise stays, and the log says why. The
arithmetic is that of the operator; sums run in the order of kh, kw, ic.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import tvm
from tvm import relax, te

from tvm_split.passes.bindings import constant, operator, static_shape
from tvm_split.passes.kernels.conv2d import conv2d_packed, pack_conv2d
from tvm_split.passes.kernels.depthwise import depthwise_conv2d
from tvm_split.passes.kernels.matmul import matmul_packed, pack_matmul
from tvm_split.passes.pack_others import OTHERS, column, product_of_two
from tvm_split.passes.schedule.machine import Machine, machine_of
from tvm_split.passes.schedule.tiles import MIN_LANES, tile_of

log = logging.getLogger("tvm_split.passes")

DTYPE = "float32"


@tvm.transform.module_pass(opt_level=0, name="PackWeights")
@dataclass(frozen=True)
class PackWeights:
    """Pack for the target; see the file's docstring."""

    target: Any  # a tvm.target.Target, or what makes one

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        packer = _Packer(mod, machine_of(tvm.target.Target(self.target)))
        for gvar, function in mod.functions_items():
            if isinstance(function, relax.Function) and not (function.attrs or {}).get("Primitive"):
                packed = packer.visit_expr(function)
                if packer.take_changed():
                    packer.builder_.update_func(gvar, relax.analysis.remove_all_unused(packed))
        if not packer.count:
            log.info("PackWeights: nothing to do: no conv2d on NHWC and no matmul has constant float32 weights")
            return mod
        log.info("PackWeights: %d operators, %d weights packed", packer.count, len(packer.packed))
        return packer.builder_.get()


@relax.expr_functor.mutator
class _Packer(relax.PyExprMutator):
    """Rewrites functions; `packed` holds what weights became, so that each is packed once."""

    def __init__(self, mod: tvm.IRModule, machine: Machine) -> None:
        super().__init__(mod)
        self.machine = machine
        self.packed: dict[object, relax.Expr] = {}
        self.count = 0
        self.changed = False

    def take_changed(self) -> bool:
        changed, self.changed = self.changed, False
        return changed

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        rules: dict[str, Callable[[relax.Call], relax.Expr | str]] = {
            "relax.nn.conv2d": self.conv2d, "relax.matmul": self.matmul,
            **{name: partial(rule, self) for name, rule in OTHERS.items()},
        }  # fmt: skip
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

    def conv2d(self, call: relax.Call) -> relax.Expr | str:
        attrs, data, weight = call.attrs, call.args[0], self.weight(call.args[1])
        shape = static_shape(data)
        layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
        if layouts != ("NHWC", "HWIO", "NHWC"):
            return f"its layouts are {', '.join(layouts)}, expected NHWC, HWIO, NHWC"
        if shape is None or weight is None or not _is_float32(data, weight, call):
            return "it has no constant float32 weights, or a symbolic shape"
        kernel_h, kernel_w, inner, channels = weight.shape
        strides, padding, dilation = ([int(n) for n in each] for each in (attrs.strides, attrs.padding, attrs.dilation))
        groups = int(attrs.groups)
        if groups == shape[-1] == channels and groups > 1:
            return self.depthwise(data, weight, strides, padding, dilation)
        if (kernel_h, kernel_w, groups, *strides, *padding) == (1, 1, 1, 1, 1, 0, 0, 0, 0):
            return self.product(data, weight[0, 0])
        if groups > 1 and channels // groups % MIN_LANES:
            return f"its groups have {channels // groups} output channels, no multiple of {MIN_LANES}"
        found = column(self, call, weight)
        if found is not None:
            return found
        row, terms = (static_shape(call) or ())[2], kernel_h * kernel_w * inner
        tile = tile_of(self.machine, row, channels // groups, terms, DTYPE, exact=groups > 1)
        literal = self.literal(weight, ("conv2d", tile.channels), lambda: pack_conv2d(weight, tile.channels))

        def conv2d(x: te.Tensor, w: te.Tensor) -> te.Tensor:
            return conv2d_packed(x, w, channels, tile, strides, padding, dilation, groups)

        return self.builder_.call_te(conv2d, data, literal)

    def depthwise(
        self, data: relax.Expr, weight: np.ndarray, strides: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int],
    ) -> relax.Expr:  # fmt: skip
        literal = self.literal(weight, ("depthwise",), lambda: np.ascontiguousarray(weight[:, :, 0, :]))

        def depthwise(x: te.Tensor, w: te.Tensor) -> te.Tensor:
            return depthwise_conv2d(x, w, strides, padding, dilation)

        return self.builder_.call_te(depthwise, data, literal)

    def matmul(self, call: relax.Call) -> relax.Expr | str:
        data, weight = call.args[0], self.weight(call.args[1])
        shape = static_shape(data)
        if weight is None or weight.ndim != 2:
            return product_of_two(self, call)
        if shape is None or len(shape) < 2 or not _is_float32(data, weight, call):
            return f"its data are {data.ty}, expected float32 of two or more known dimensions"
        return self.product(data, weight)

    def product(self, data: relax.Expr, weight: np.ndarray) -> relax.Expr:
        """Rows of all leading dimensions times the weights [K][N]."""
        rows, (terms, channels) = prod((static_shape(data) or ())[:-1]), weight.shape
        tile = tile_of(self.machine, rows, channels, terms, DTYPE, copies=True)
        literal = self.literal(weight, ("matmul", tile.channels), lambda: pack_matmul(weight, tile.channels))

        def matmul(x: te.Tensor, w: te.Tensor) -> te.Tensor:
            return matmul_packed(x, w, channels, tile)

        return self.builder_.call_te(matmul, data, literal)

    def weight(self, expr: relax.Expr) -> np.ndarray | None:
        """The array of a constant, or of one behind a permute_dims."""
        bound = self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr
        if bound is not None and operator(bound) == "relax.permute_dims":
            array = self.weight(bound.args[0])
            axes = bound.attrs.axes
            return None if array is None else array.transpose(None if axes is None else [int(axis) for axis in axes])
        return constant(bound) if bound is not None else None

    def literal(self, weight: np.ndarray, layout: tuple[object, ...], pack: Callable[[], np.ndarray]) -> relax.Expr:
        key = (layout, weight.shape, hashlib.sha256(np.ascontiguousarray(weight).data).digest())
        if key not in self.packed:
            self.packed[key] = relax.const(pack(), str(weight.dtype))
        return self.packed[key]


def _is_float32(data: relax.Expr, weight: np.ndarray, call: relax.Call) -> bool:
    return {str(data.ty.dtype), str(weight.dtype), str(call.ty.dtype)} == {DTYPE}
