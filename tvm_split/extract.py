"""IRModule of layers -> Graph: the frozen view that planners work on."""

from __future__ import annotations

import math
from collections.abc import Callable

import tvm
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.passes.layering import COMPOSITE, LAYER, free_vars, is_constant, main_bindings


def graph(mod: tvm.IRModule, name: str = "network") -> Graph:
    """Return the Graph of a module whose `main` consists of layers (pass `fuse-activation` makes one).

    A tensor is named after the layer that makes it; the parts of a tuple are `layer.0`, `layer.1`. ModelError when a
    binding of `main` is no layer.
    """
    function, bindings = main_bindings(mod)
    tensors: list[Tensor] = []
    layers: list[Layer] = []
    names: dict[relax.Var, tuple[str, ...]] = {}
    for param in function.params:
        names[param] = (param.name,)
        tensors.append(_tensor(param.name, param.ty))
    for binding in bindings:
        value = binding.value
        if isinstance(value, relax.Call) and isinstance(value.op, relax.GlobalVar):
            callee = mod[value.op]
            if isinstance(callee, relax.Function) and callee.attrs and LAYER in callee.attrs:
                layer, made = _layer(binding, callee, names)
                layers.append(layer)
                tensors.extend(made)
                names[binding.var] = layer.outputs
                continue
        read = resolve(value, names)
        if read is None:
            raise ModelError(f"'{binding.var.name}' in 'main' is no layer; run the pass fuse-activation first")
        names[binding.var] = read
    outputs = resolve(function.body.body, names)
    assert outputs is not None
    return Graph(name, tuple(tensors), tuple(layers), tuple(p.name for p in function.params), outputs)


def resolve(value: relax.Expr, names: dict[relax.Var, tuple[str, ...]]) -> tuple[str, ...] | None:
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


def _layer(
    binding: relax.VarBinding, callee: relax.Function, names: dict[relax.Var, tuple[str, ...]]
) -> tuple[Layer, list[Tensor]]:
    name = str(callee.attrs[LAYER])
    if isinstance(binding.var.ty, relax.TupleType):
        made = [_tensor(f"{name}.{i}", ty) for i, ty in enumerate(binding.var.ty.fields)]
    else:
        made = [_tensor(name, binding.var.ty)]
    inputs = tuple(dict.fromkeys(n for var in free_vars(binding.value) for n in names[var]))
    inner = [b for block in callee.body.blocks for b in block.bindings]
    flops = sum(flops_of(b) for b in inner)
    kind = str(callee.attrs[COMPOSITE]).removeprefix("tvm_split.")
    return Layer(name, kind, inputs, tuple(t.name for t in made), flops, weight_bytes(callee)), made


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
