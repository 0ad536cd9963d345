"""The order in which a tensor's axes stand in memory: what the modules of channels-last share.

No pass by itself. A tensor is *stored in an order*: memory holds `permute_dims(tensor, order)`, so NCHW stored in order
(0, 2, 3, 1) is NHWC, and (0, 1, 2, 3) is the tensor as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from tvm_split.passes.bindings import bind, constant, operator
from tvm_split.passes.stored_weights import stored_weights

Order = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """A tensor of `shape`: `expr` is permute_dims(the tensor, `order`)."""

    expr: relax.Expr
    order: Order
    shape: tuple[int, ...]


#: a rule's result: the call, and the order of what it makes (of each part of a tuple)
Answer = tuple[relax.Expr, Order | list[Order]] | None
#: arguments are Stored, a list of them for a tuple, or an expression as it was: a constant, a number, a shape
Rule = Callable[[relax.Call, list[Any]], Answer]


def as_is(rank: int) -> Order:
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """N, C, spatial... -> N, spatial..., C."""
    return (0, *range(2, rank), 1) if rank > 2 else as_is(rank)


def permuted(items: Sequence[Any], order: Order) -> tuple[Any, ...]:
    return tuple(items[axis] for axis in order)


def same_memory(shape: Sequence[int], a: Order, b: Order) -> bool:
    """Whether both orders put the elements one after another alike: axes of extent 1 do not count."""
    return [axis for axis in a if shape[axis] != 1] == [axis for axis in b if shape[axis] != 1]


def reshaped(shape: Sequence[int], order: Order, target: Sequence[int]) -> Order | None:
    """The order in which a reshape of the memory stores the reshaped tensor; None when no reshape of it does.

    Axes are matched in groups of as many elements: (N, C, H, W) -> (N, C, H * W) has N, C and H * W. Each group
    must stand together, in its own order. An axis of extent 1 goes behind the one before it.
    """
    old = [axis for axis in range(len(shape)) if shape[axis] != 1]
    new = [axis for axis in range(len(target)) if target[axis] != 1]
    groups: list[tuple[list[int], list[int]]] = []
    while old or new:
        if not (old and new):
            return None
        mine, theirs = [old.pop(0)], [new.pop(0)]
        while (a := math.prod(shape[i] for i in mine)) != (b := math.prod(target[i] for i in theirs)):
            short, rest = (mine, old) if a < b else (theirs, new)
            if not rest:
                return None
            short.append(rest.pop(0))
        groups.append((mine, theirs))
    memory = [axis for axis in order if shape[axis] != 1]
    made: list[int] = []
    while memory:
        mine, theirs = next(group for group in groups if memory[0] in group[0])
        if memory[: len(mine)] != mine:
            return None
        memory, made = memory[len(mine) :], made + theirs
    for axis in (axis for axis in range(len(target)) if target[axis] == 1):
        made.insert(made.index(axis - 1) + 1 if axis else 0, axis)
    usual = (as_is(len(target)), channels_last(len(target)))
    return next((each for each in usual if same_memory(target, each, tuple(made))), tuple(made))


def literal(expr: relax.Expr, order: Order) -> relax.Expr | None:
    """The constant that broadcasts against a tensor stored in `order` as `expr` does against the tensor itself."""
    array = constant(expr)
    if array is None or array.ndim > len(order):
        return None
    if array.size == 1:
        return expr
    moved = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)
    while array.ndim < len(order) and moved.shape[0] == 1:
        moved = moved[0]
    return relax.const(np.ascontiguousarray(moved), str(array.dtype))


def permuted_order(call: relax.Call, order: Order) -> Order:
    """The order of permute_dims(a tensor stored in `order`), when the memory stays."""
    axes = [int(axis) % len(order) for axis in call.attrs.axes or reversed(range(len(order)))]
    return tuple(axes.index(axis) for axis in order)


def in_orders(
    function: relax.Function, orders: Sequence[Order | list[Order]], rules: Mapping[str, Rule]
) -> tuple[relax.Function, list[Order]] | str:
    """The function with its parameters stored in `orders`, and the order of each tensor that it makes.

    A reason where there is none. Attributes and names stay.
    """
    layer = _Layer(rules)
    params = []
    for param, order in zip(function.params, orders, strict=True):
        ty = _moved(param.ty, order)
        if ty is None:
            return f"the shape of '{param.name}' is not known"
        params.append(relax.Var(param.name, ty))
        layer.define(param, params[-1], order)
    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    for binding in bindings:
        reason = layer.visit(binding)
        if reason:
            return reason
    made = layer.values.get(function.body.body)
    if made is None:
        return "its result is no variable"
    parts = made if isinstance(made, list) else [made]
    out = layer.result(function.body.body)
    body = relax.SeqExpr([relax.DataflowBlock(layer.bindings)], out)
    rewritten = relax.Function(params, body, out.ty, is_pure=True, attrs=function.attrs)
    return relax.analysis.remove_all_unused(rewritten), [part.order for part in parts]


class _Layer:
    """The function being built: `values` holds its variables' tensors as they are stored, `new` the new variables."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = rules
        self.values: dict[relax.Var, Stored | list[Stored]] = {}
        self.new: dict[relax.Var, relax.Expr] = {}
        self.stored: dict[relax.Var, relax.Call] = {}
        self.bindings: list[relax.VarBinding] = []

    def define(self, old: relax.Var, new: relax.Expr, order: Order | list[Order]) -> None:
        self.new[old] = new
        if isinstance(order, list):
            fields = enumerate(zip(old.ty.fields, order, strict=True))
            self.values[old] = [Stored(self.part(old.name, new, i), each, _extents(ty)) for i, (ty, each) in fields]
        else:
            self.values[old] = Stored(new, order, _extents(old.ty))

    def part(self, name: str, whole: relax.Expr, index: int) -> relax.Expr:
        """A part of a tuple, bound to a variable: operators take leaves."""
        if isinstance(whole, relax.Tuple):
            return whole.fields[index]
        part = relax.TupleGetItem(whole, index)
        var = relax.DataflowVar(f"{name}_{index}", whole.ty.fields[index])
        self.bindings.append(relax.VarBinding(var, part))
        return var

    def argument(self, arg: relax.Expr) -> Any:
        if isinstance(arg, relax.Var):
            return self.stored[arg] if arg in self.stored else self.values[arg]
        if isinstance(arg, relax.TupleGetItem):
            return self.argument(arg.tuple_value)[arg.index]
        return [self.argument(part) for part in arg.fields] if isinstance(arg, relax.Tuple) else arg

    def visit(self, binding: relax.VarBinding) -> str:
        """Add what computes the binding's variable, or say why nothing does."""
        old, value = binding.var, binding.value
        if stored_weights(value) is not None:  # a constant in all but form: rules see the call
            self.stored[old] = value
            return ""
        if isinstance(value, relax.Call):
            rule = self.rules.get(operator(value))
            answer = rule(value, [self.argument(arg) for arg in value.args]) if rule else None
            if answer is None:
                return f"{operator(value) or value.op} does not work on that order of axes"
            new, order = answer
            if not isinstance(new, relax.Var | relax.TupleGetItem):  # what a permute_dims gives is there already
                new = self.bind(old.name, new)
            wanted = _moved(old.ty, order)
            if wanted is None or not tvm_ffi.structural_equal(new.ty, wanted):
                return f"{operator(value)} makes {new.ty}, expected {wanted}"
            self.define(old, new, order)
            return ""
        found = self.argument(value)
        if isinstance(found, Stored):
            self.define(old, found.expr, found.order)
        elif isinstance(found, list) and all(isinstance(part, Stored) for part in found):
            self.define(old, relax.Tuple([part.expr for part in found]), [part.order for part in found])
        else:
            return f"'{old.name}' is not computed from tensors of its own"
        return ""

    def bind(self, name: str, value: relax.Expr) -> relax.Var:
        if isinstance(value, relax.Call) and any(stored_weights(arg) is not None for arg in value.args):
            args = [arg if stored_weights(arg) is None else self.bind(f"{name}_weight", arg) for arg in value.args]
            value = relax.Call(value.op, args, value.attrs, value.ty_args)
        return bind(self.bindings, name, value)

    def result(self, old: relax.Var) -> relax.Var:
        """The function's result: the last binding is made to bind it, or one is added."""
        new = relax.BlockBuilder().normalize(self.new[old])
        out = relax.Var("out", new.ty)
        if self.bindings and self.bindings[-1].var.same_as(new):
            new = self.bindings.pop().value
        self.bindings.append(relax.VarBinding(out, new))
        return out


def _extents(ty: relax.Type) -> tuple[int, ...]:
    return tuple(int(dim) for dim in ty.shape.values)


def _moved(ty: relax.Type, order: Order | list[Order]) -> relax.Type | None:
    """The type of what is stored in that order."""
    if isinstance(order, list):
        fields = [_moved(part, each) for part, each in zip(ty.fields, order, strict=True)]
        return None if any(part is None for part in fields) else relax.TupleType(fields)
    if not isinstance(ty, relax.TensorType) or not isinstance(ty.shape, relax.ShapeExpr):
        return None
    if not all(isinstance(dim, tvm.tirx.IntImm) for dim in ty.shape.values) or len(ty.shape.values) != len(order):
        return None
    return relax.TensorType(permuted(_extents(ty), order), ty.dtype)
