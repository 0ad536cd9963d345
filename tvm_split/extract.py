"""IRModule of layers -> Graph: the frozen view that planners work on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import tvm
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.passes.layering import COMPOSITE, LAYER, free_vars, is_constant, layer_calls, main_bindings


def graph(mod: tvm.IRModule, name: str = "network") -> Graph:
    """Return the Graph of a module whose `main` consists of layers (pass `fuse-activation` makes one).

    A tensor is named after the layer that makes it; the parts of a tuple are `layer.0`, `layer.1`. ModelError as
    `tensor_names`.
    """
    function, _ = main_bindings(mod)
    names = tensor_names(mod)
    tensors = tuple(_tensor(tensor, ty) for tensor, ty in tensor_types(names).items())
    layers = tuple(_layer(binding, callee, names) for binding, callee in layer_calls(mod))
    outputs = resolve(function.body.body, names)
    assert outputs is not None
    return Graph(name, tensors, layers, tuple(param.name for param in function.params), outputs)


def tensor_names(mod: tvm.IRModule) -> dict[relax.Var, tuple[str, ...]]:
    """Names of the tensors that each variable of `main` holds, in the order of the bindings; parameters come first.

    ModelError when a binding is no layer and more than a tuple or a part of one, or when a tuple holds a tuple.
    """
    function, bindings = main_bindings(mod)
    layers = {binding.var: str(callee.attrs[LAYER]) for binding, callee in layer_calls(mod)}
    names: dict[relax.Var, tuple[str, ...]] = {param: (param.name,) for param in function.params}
    for binding in bindings:
        var, layer = binding.var, layers.get(binding.var)
        _check_flat(f"'{var.name}' in 'main'", var.ty)
        if layer is None:
            read = resolve(binding.value, names)
            if read is None:
                raise ModelError(f"'{var.name}' in 'main' is no layer; run the pass fuse-activation first")
            names[var] = read
        elif isinstance(var.ty, relax.TupleType):
            names[var] = tuple(f"{layer}.{i}" for i in range(len(var.ty.fields)))
        else:
            names[var] = (layer,)
    _check_flat("the result of 'main'", function.body.body.ty)
    return names


def tensor_types(names: Mapping[relax.Var, tuple[str, ...]]) -> dict[str, relax.TensorType]:
    """Type of every tensor, given `tensor_names`: inputs first, then in the order in which layers make them."""
    types: dict[str, relax.TensorType] = {}
    for var, held in names.items():
        types.update(zip(held, var.ty.fields if isinstance(var.ty, relax.TupleType) else [var.ty], strict=True))
    return types


def _check_flat(what: str, ty: relax.Type) -> None:
    if isinstance(ty, relax.TupleType) and any(isinstance(part, relax.TupleType) for part in ty.fields):
        raise ModelError(
            f"{what} is a tuple that holds a tuple, of type {ty}; expected tensors alone: make the model return one "
            "flat tuple of tensors"
        )


def resolve(value: relax.Expr, names: Mapping[relax.Var, tuple[str, ...]]) -> tuple[str, ...] | None:
    """Tensor names behind a variable, a tuple or a part of a tuple; None for anything that computes."""
    if isinstance(value, relax.Var):
        return names[value]
    if isinstance(value, relax.TupleGetItem):
        inner = resolve(value.tuple_value, names)
        return inner and (inner[value.index],)
    if isinstance(value, relax.Tuple):
        parts = [resolve(item, names) for item in value.fields]
        return None if any(part is None for part in parts) else tuple(name for part in parts if part for name in part)
    return None


def _tensor(name: str, ty: relax.TensorType) -> Tensor:
    return Tensor(name, tuple(int(extent) for extent in ty.shape.values), str(ty.dtype))


def _layer(binding: relax.VarBinding, callee: relax.Function, names: Mapping[relax.Var, tuple[str, ...]]) -> Layer:
    inputs = tuple(dict.fromkeys(n for var in free_vars(binding.value) for n in names[var]))
    flops = sum(flops_of(inner) for block in callee.body.blocks for inner in block.bindings)
    kind = str(callee.attrs[COMPOSITE]).removeprefix("tvm_split.")
    return Layer(str(callee.attrs[LAYER]), kind, inputs, names[binding.var], flops, weight_bytes(callee))


def weight_bytes(function: relax.Function) -> int:
    """Bytes of the function's constants as stored, each object once."""
    seen: list[relax.Expr] = []

    def visit(expr: relax.Expr) -> None:
        if is_constant(expr) and not any(expr.same_as(other) for other in seen):
            seen.append(expr)

    relax.analysis.post_order_visit(function, visit)
    return sum(_bytes(expr.ty) for expr in seen)


def _extents(ty: relax.TensorType) -> tuple[int, ...]:
    return tuple(int(extent) for extent in ty.shape.values)


def _bytes(ty: relax.TensorType) -> int:
    tensor = Tensor("constant", _extents(ty), str(ty.dtype))
    return tensor.size_bytes


def _elements(ty: relax.Type) -> int:
    if isinstance(ty, relax.TupleType):
        return sum(_elements(field) for field in ty.fields)
    return math.prod(_extents(ty)) if isinstance(ty, relax.TensorType) else 0


def _convolution(call: relax.Call, ty: relax.TensorType) -> int:
    # The kernel is laid out (O, I / groups, spatial...) whatever the layout string permutes: the product of all its
    # extents but the output channels is what one output element multiplies.
    kernel = _extents(call.args[1].ty)
    return 2 * _elements(ty) * math.prod(kernel) // kernel[str(call.attrs.kernel_layout).index("O")]


def _transposed_convolution(call: relax.Call, ty: relax.TensorType) -> int:
    # Each *input* element is multiplied by (O / groups) * spatial kernel elements.
    kernel = _extents(call.args[1].ty)
    return 2 * _elements(call.args[0].ty) * math.prod(kernel) // kernel[str(call.attrs.kernel_layout).index("I")]


def _matmul(call: relax.Call, ty: relax.TensorType) -> int:
    return 2 * _elements(ty) * _extents(call.args[0].ty)[-1]


def _pool(call: relax.Call, ty: relax.TensorType) -> int:
    return _elements(ty) * math.prod(int(extent) for extent in call.attrs.pool_size)


def _reads(call: relax.Call, ty: relax.Type) -> int:
    return max(_elements(ty), *(_elements(arg.ty) for arg in call.args if isinstance(arg.ty, relax.TensorType)), 0)


_MOVES = {"reshape", "permute_dims", "concat", "strided_slice", "expand_dims", "squeeze", "split", "flatten", "take",
          "broadcast_to", "layout_transform", "shape_of", "zeros", "ones", "full", "astype", "memory.view"}  # fmt: skip


def flops_of(binding: relax.VarBinding) -> int:
    """Floating-point operations of one operator, a multiply-add counted as two; 0 for what only moves data."""
    call = binding.value
    if not isinstance(call, relax.Call):
        return 0
    name = str(call.op.name).removeprefix("relax.") if isinstance(call.op, tvm.ir.Op) else ""
    if name in _MOVES:
        return 0
    rules: list[tuple[bool, Callable[[relax.Call, relax.TensorType], int]]] = [
        (name.startswith("nn.conv") and name.endswith("_transpose"), _transposed_convolution),
        (name.startswith("nn.conv"), _convolution),
        (name == "matmul", _matmul),
        ("_pool" in name and not name.startswith("nn.adaptive"), _pool),
        (True, _reads),
    ]
    return next(rule for applies, rule in rules if applies)(call, binding.var.ty)
