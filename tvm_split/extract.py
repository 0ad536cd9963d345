"""IRModule of layers -> Graph: the frozen view that planners work on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import tvm
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.flops import extents, flops_of
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.passes.choose_winograd import convolution
from tvm_split.passes.layering import (
    COMPOSITE,
    INPUT_NAMES,
    LAYER,
    OUTPUT_NAMES,
    WINOGRAD,
    free_vars,
    is_constant,
    layer_calls,
    main_bindings,
    unique,
)

T = TypeVar("T")

__all__ = ["flops_of", "graph", "output_names", "resolve", "tensor_names", "tensor_types", "weight_bytes"]


def graph(mod: tvm.IRModule, name: str = "network") -> Graph:
    """Return the Graph of a module whose `main` consists of layers (pass `fuse-activation` makes one).

    A tensor is named after the layer that makes it; the parts of a tuple are `layer.0`, `layer.1`. ModelError as
    `tensor_names`.
    """
    function, _ = main_bindings(mod)
    names = tensor_names(mod)
    tensors = tuple(_tensor(tensor, ty) for tensor, ty in tensor_types(names).items())
    layers = tuple(_layer(mod, binding, callee, names) for binding, callee in layer_calls(mod))
    inputs = tuple(param.name for param in function.params)
    return Graph(name, tensors, layers, inputs, _outputs(function, names), _file_names(function, inputs))


def output_names(mod: tvm.IRModule) -> tuple[str, ...]:
    """What the model calls each of `graph(mod).outputs`, position by position: the names of its file, all different.

    Where the frontend found no names (a module that was given as one), the names of the tensors; a name that stands
    there twice gets `_2`. Two names may stand for one tensor. ModelError as `tensor_names`, never for a name.
    """
    function, _ = main_bindings(mod)
    tensors = _outputs(function, tensor_names(mod))
    given = _given_names(function)
    taken: set[str] = set()
    return tuple(unique(name, taken) for name in (given if len(given) == len(tensors) else tensors))


def _file_names(function: relax.Function, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """What the model's file calls the inputs; () where that is nothing else, or where the frontend found no names."""
    given = tuple(str(name) for name in (function.attrs or {}).get(INPUT_NAMES, ()))
    return given if given != inputs and len(given) == len(inputs) else ()


def _given_names(function: relax.Function) -> tuple[str, ...]:
    return tuple(str(name) for name in (function.attrs or {}).get(OUTPUT_NAMES, ()))


def _outputs(function: relax.Function, names: Mapping[relax.Var, tuple[str, ...]]) -> tuple[str, ...]:
    result = function.body.body
    outputs = resolve(result, names)
    if outputs is None:
        _check_no_constant(function, result)
        raise ModelError(f"the result of 'main' is no tensor of a layer but {result}; run the pass fuse-activation")
    return outputs


def _check_no_constant(function: relax.Function, value: relax.Expr) -> None:
    """ModelError when `value`, the network's result, is a constant or a tuple that holds one."""
    parts = list(value.fields) if isinstance(value, relax.Tuple) else [value]
    for position, part in enumerate(parts):
        if is_constant(part):
            given = _given_names(function)
            name = f"'{given[position]}'" if len(given) == len(parts) else f"number {position}"
            raise ModelError(
                f"output {name} of the network is a constant of type {part.ty}, which depends on no input; take it out "
                "of the model's outputs: whoever needs it can store it"
            )


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
                if var.same_as(function.body.body):
                    _check_no_constant(function, binding.value)
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


def resolve(value: relax.Expr, held: Mapping[relax.Var, tuple[T, ...]]) -> tuple[T, ...] | None:
    """What stands for the tensors behind a variable, a tuple or a part of a tuple, flat; None for what computes.

    `held`: that of each variable, one for each part of a tuple. KeyError for a variable that it lacks.
    """
    if isinstance(value, relax.Var):
        return held[value]
    if isinstance(value, relax.TupleGetItem):
        inner = resolve(value.tuple_value, held)
        return inner and (inner[value.index],)
    if isinstance(value, relax.Tuple):
        parts = [resolve(item, held) for item in value.fields]
        return None if any(part is None for part in parts) else tuple(each for part in parts for each in part or ())
    return None


def _tensor(name: str, ty: relax.TensorType) -> Tensor:
    return Tensor(name, extents(ty), str(ty.dtype))


def _layer(
    mod: tvm.IRModule, binding: relax.VarBinding, callee: relax.Function, names: Mapping[relax.Var, tuple[str, ...]]
) -> Layer:
    inputs = tuple(dict.fromkeys(n for var in free_vars(binding.value) for n in names[var]))
    flops = sum(flops_of(inner, mod) for block in callee.body.blocks for inner in block.bindings)
    kind = str(callee.attrs[COMPOSITE]).removeprefix("tvm_split.")
    more = winograd_bytes(callee)
    return Layer(
        str(callee.attrs[LAYER]), kind, inputs, names[binding.var], flops, weight_bytes(callee) + more,
        winograd_bytes=more,
    )  # fmt: skip


def winograd_bytes(function: relax.Function) -> int:
    """What a layer that choose-winograd marked stores beyond its constants: 16/9 of its kernel instead of 9/9."""
    call = convolution(function) if (function.attrs or {}).get(WINOGRAD) else None
    return 0 if call is None else _bytes(call.args[1].ty) * 7 // 9


def weight_bytes(function: relax.Function) -> int:
    """Bytes of the function's constants, each object once."""
    seen: list[relax.Expr] = []

    def visit(expr: relax.Expr) -> None:
        if is_constant(expr) and not any(expr.same_as(other) for other in seen):
            seen.append(expr)

    relax.analysis.post_order_visit(function, visit)
    return sum(_bytes(expr.ty) for expr in seen)


def _bytes(ty: relax.TensorType) -> int:
    return Tensor("constant", extents(ty), str(ty.dtype)).size_bytes
