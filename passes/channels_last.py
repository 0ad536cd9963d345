"""Keep activations channels-last: rewrite layers on NCHW to NHWC, with as few conversions between as it takes.

    Given:   c = conv2d_relu(x);  p = max_pool2d(c);  r = softmax(p);  main returns r        (NCHW, kernels OIHW)
    Result:  t = permute_dims(x, [0, 2, 3, 1]);  c = conv2d_relu(t);  p = max_pool2d(c);  r = softmax(p)   (NHWC, HWIO)
             main returns permute_dims(r, [0, 3, 1, 2])

Layers that convolve, pool, resize or take the mean or sum of H and W are always rewritten, whatever stands around them,
so that a half computes the bits of the whole; others (elementwise, concat, softmax...) when at least half of their
inputs are NHWC by then; what has no rule in channels_last_ops stays. `main` is the same from outside. Kernels are laid
out at compile time. Nothing is computed differently, but sums may run in another order. conv1d and its pooling become
NWC. 3-D convolutions stay, and so do transposed ones that pack-weights, which alone computes NHWC ones, cannot take.

A conversion is a plain binding of `main`, no layer: it belongs to nobody's kernel, LegalizeOps makes it a kernel of its
own, and a reshape (where all axes but one have extent 1, none is moved) stays the view that the VM makes of it. Each
tensor has one a direction at most. A layer that only permutes becomes the order in which its readers find the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import tvm
from tvm import relax

from tvm_split.passes.axis_order import Order, as_is, channels_last, in_orders, permuted, permuted_order, same_memory
from tvm_split.passes.bindings import bind, log, operator, static_shape
from tvm_split.passes.channels_last_ops import RULES, is_anchor
from tvm_split.passes.layering import LAYER, free_vars, global_var, layer_calls, main_bindings, replace_main, substitute


@tvm.transform.module_pass(opt_level=0, name="ChannelsLast")
class ChannelsLast:
    """Rewrite a module of layers, the whole network's or a half's; see the file's docstring."""

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        main = _Main(mod)
        main.rewrite()
        if not main.changed:
            log.info("ChannelsLast: nothing to do: no layer of 'main' convolves, pools or resizes NCHW")
            return mod
        return main.finish()


@dataclass
class _Tensor:
    """A tensor of `main` in each order that it is there in so far. What has no static shape counts as a scalar."""

    name: str
    shape: tuple[int, ...]
    forms: dict[Order, relax.Expr] = field(default_factory=dict)

    @property
    def as_is(self) -> Order:
        return as_is(len(self.shape))

    def has(self, order: Order) -> bool:
        """Whether it is there in that order, or becomes so by a reshape."""
        return any(same_memory(self.shape, form, order) for form in self.forms)


_Value = _Tensor | list[_Tensor]


class _Main:
    """The function being built; `values` tells where what its variables held is now."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self.mod = mod
        self.function, self.before = main_bindings(mod)
        self.callees = {binding.var: callee for binding, callee in layer_calls(mod)}
        self.functions = dict(mod.functions_items())
        self.bindings: list[relax.VarBinding] = []
        self.values: dict[relax.Var, _Value] = {param: self.held(param.name, param) for param in self.function.params}
        self.changed = False

    def rewrite(self) -> None:
        for binding in self.before:
            callee = self.callees.get(binding.var)
            found = self.resolve(binding.value) if callee is None else self.layer(binding, callee)
            self.values[binding.var] = self.unchanged(binding) if found is None else found

    def finish(self) -> tvm.IRModule:
        result = self.function.body.body
        out = relax.Var("result", result.ty)
        self.bindings.append(relax.VarBinding(out, self.given(result)))
        rebuilt = replace_main(self.mod, self.function, self.bindings, out, self.functions)
        passes = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination(["main"])]
        return tvm.transform.Sequential(passes)(rebuilt)

    def bind(self, name: str, value: relax.Expr) -> relax.Var:
        return bind(self.bindings, name, value)

    def held(self, name: str, expr: relax.Expr, orders: Sequence[Order] | None = None) -> _Value:
        """What a variable holds, each tensor of it in its order: as it is, unless `orders` tell another."""
        if isinstance(expr.ty, relax.TupleType):
            parts = [self.bind(f"{name}_{i}", relax.TupleGetItem(expr, i)) for i in range(len(expr.ty.fields))]
            return [self.one(f"{name}_{i}", part, orders[i] if orders else None) for i, part in enumerate(parts)]
        return self.one(name, expr, orders[0] if orders else None)

    def one(self, name: str, expr: relax.Expr, order: Order | None = None) -> _Tensor:
        stored = static_shape(expr) or ()
        order = as_is(len(stored)) if order is None else order
        return _Tensor(name, tuple(stored[order.index(axis)] for axis in range(len(order))), {order: expr})

    def resolve(self, expr: relax.Expr) -> _Value | None:
        """What is behind a variable, a tuple or a part of one; None for anything that computes."""
        if isinstance(expr, relax.Var):
            return self.values[expr]
        if isinstance(expr, relax.TupleGetItem):
            whole = self.resolve(expr.tuple_value)
            return whole[expr.index] if isinstance(whole, list) else None
        if isinstance(expr, relax.Tuple):
            parts = [self.resolve(part) for part in expr.fields]
            flat = [part for part in parts if isinstance(part, _Tensor)]
            return flat if len(flat) == len(parts) else None
        return None

    def get(self, tensor: _Tensor, order: Order) -> relax.Expr:
        """The tensor stored in `order`, by a conversion where it is not there in it yet."""
        if order not in tensor.forms:
            alike = [form for form in tensor.forms if same_memory(tensor.shape, form, order)]
            source = (alike or list(tensor.forms))[0]
            expr = tensor.forms[source]
            moved = (
                relax.op.reshape(expr, permuted(tensor.shape, order))
                if alike
                else relax.op.permute_dims(expr, [source.index(axis) for axis in order])
            )
            suffix = "first" if order == tensor.as_is else "last" if order == channels_last(len(order)) else "moved"
            tensor.forms[order] = self.bind(f"{tensor.name}_{suffix}", moved)
        return tensor.forms[order]

    def given(self, expr: relax.Expr) -> relax.Expr:
        """The expression, computed from tensors as they were."""
        found = self.resolve(expr)
        if isinstance(found, _Tensor):
            return self.get(found, found.as_is)
        if isinstance(found, list):
            return relax.Tuple([self.get(part, part.as_is) for part in found])
        return substitute(expr, {var: self.given(var) for var in free_vars(expr)})

    def unchanged(self, binding: relax.VarBinding) -> _Value:
        value = binding.value
        if isinstance(value, relax.Call):  # a tuple among a layer's arguments stays one
            value = relax.Call(value.op, [self.given(arg) for arg in value.args], value.attrs, value.ty_args)
        else:
            value = self.given(value)
        return self.held(binding.var.name, self.bind(binding.var.name, value))

    def layer(self, binding: relax.VarBinding, callee: relax.Function) -> _Value | None:
        """The layer's result after a rewrite; None where it stays."""
        inputs = [self.resolve(arg) for arg in binding.value.args]
        if any(each is None for each in inputs):
            return None
        values = [value for value in inputs if value is not None]
        body = [item.value for block in callee.body.blocks for item in block.bindings]
        if len(body) == 1 and operator(body[0]) == "relax.permute_dims" and isinstance(values[0], _Tensor):
            return self.only_order(binding.var.name, body[0], values[0])
        anchored = any(is_anchor(value) for value in body)
        tensors = [tensor for value in values for tensor in (value if isinstance(value, list) else [value])]
        order = None if anchored else _favoured(tensors)
        if order is None and not anchored:
            return None

        def wanted(tensor: _Tensor) -> Order:
            rank = len(tensor.shape)
            return channels_last(rank) if order is None else order if rank == len(order) else tensor.as_is

        orders = [[wanted(t) for t in value] if isinstance(value, list) else wanted(value) for value in values]
        rewritten = in_orders(callee, orders, RULES)
        if isinstance(rewritten, str):
            log.info("ChannelsLast: layer '%s' stays: %s", callee.attrs[LAYER], rewritten)
            return None
        function, made = rewritten
        self.changed |= anchored
        old = binding.value.op
        gvar = global_var(old.name_hint, function)
        self.functions.pop(old)
        self.functions[gvar] = function
        read = [
            relax.Tuple([self.get(t, wanted(t)) for t in value])
            if isinstance(value, list)
            else self.get(value, wanted(value))
            for value in values
        ]
        return self.held(binding.var.name, self.bind(binding.var.name, relax.Call(gvar, read)), made)

    def only_order(self, name: str, call: relax.Call, tensor: _Tensor) -> _Value | None:
        """The result of a permute_dims, when its readers find it in an order that they can want; None otherwise."""
        forms = {permuted_order(call, order): expr for order, expr in tensor.forms.items()}
        axes = permuted_order(call, tensor.as_is)
        shape = tuple(tensor.shape[axes.index(axis)] for axis in range(len(axes)))
        made = _Tensor(name, shape, forms)
        cancels = made.has(made.as_is) or made.has(channels_last(len(shape)))
        return made if cancels or not tensor.has(tensor.as_is) else None


def _favoured(tensors: Sequence[_Tensor]) -> Order | None:
    """The order, other than the tensors' own, that at least as many of them are there in as are not."""
    rank = max((len(tensor.shape) for tensor in tensors), default=0)
    voters = [tensor for tensor in tensors if len(tensor.shape) == rank]
    for order in dict.fromkeys(form for tensor in voters for form in tensor.forms):
        concerned = [tensor for tensor in voters if not same_memory(tensor.shape, order, tensor.as_is)]
        if concerned and 2 * sum(tensor.has(order) for tensor in concerned) >= len(concerned):
            return order
    return None
