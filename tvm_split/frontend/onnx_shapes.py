"""Give every input of an ONNX graph a fixed shape, asking for what the model leaves open."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import onnx

from tvm_split.errors import ModelError

LARGEST = 2**31 - 1  # kernels count elements in 32 bits


def fix_inputs(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], name: str) -> None:
    """Write a shape into each input of `model`, in place; forget the shapes that followed from the old ones.

    An axis is taken from the model, else from `shapes`, else from another input's axis of the same symbolic name, else
    it is 1 if it is the first axis and the only open one. A number below 1 is an open axis, as some exporters write it;
    a warning says so where it becomes 1. ModelError when an axis stays open, when `shapes` names no input, has another
    rank, or contradicts an axis that the model fixes.
    """
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)  # a weight that could be overridden cannot be folded
    if not inputs:
        raise ModelError(
            f"{name}: the network has no inputs, so all that it gives is known beforehand; export it with its input"
        )
    unknown = sorted(set(shapes) - {value.name for value in inputs})
    if unknown:
        listed = ", ".join(f"{value.name}={_text(_axes(value))}" for value in inputs)
        raise ModelError(f"{name}: there is no input {unknown[0]!r} to give a shape; the inputs are {listed}")
    symbols: dict[str, int] = {}
    for value in graph.input:
        if value.name in shapes:
            _note(value, shapes[value.name], symbols, name)
    for value in graph.input:
        axes = shapes.get(value.name) or _known(value, symbols, name)
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for axis in axes:
            shape.dim.add().dim_value = int(axis)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


def _axes(value: onnx.ValueInfoProto) -> list[int | str]:
    """Return each axis of an input: its size, or its symbolic name ('' when it has none, which some write as '?')."""
    if not value.type.HasField("tensor_type"):
        return []
    dims = value.type.tensor_type.shape.dim
    return [
        dim.dim_value if dim.dim_value > 0 else dim.dim_param if dim.dim_param.isidentifier() else "" for dim in dims
    ]


def _text(axes: list[int | str]) -> str:
    return "x".join(str(axis) if isinstance(axis, int) else "?" for axis in axes) or "?"


def _note(value: onnx.ValueInfoProto, given: tuple[int, ...], symbols: dict[str, int], name: str) -> None:
    """Check the shape that the user gives for one input against the model's, and learn its symbols."""
    declared = _axes(value)
    ranked = value.type.tensor_type.HasField("shape")
    if ranked and len(given) != len(declared):
        raise ModelError(
            f"{name}: input {value.name!r} has {len(declared)} axes ({_text(declared)}), but the given shape "
            f"{_text(list(given))} has {len(given)}"
        )
    for position, size in enumerate(given):
        if not isinstance(size, int) or not 1 <= size <= LARGEST:
            raise ModelError(
                f"{name}: axis {position} of input {value.name!r} is {size!r}; an axis is a whole number from 1 to "
                f"{LARGEST}"
            )
        axis = declared[position] if ranked else ""
        fixed = axis if isinstance(axis, int) else symbols.setdefault(axis, size) if axis else size
        if fixed != size:
            why = "the model fixes it" if isinstance(axis, int) else f"another input has {fixed} for the same {axis!r}"
            raise ModelError(f"{name}: axis {position} of input {value.name!r} cannot be {size}: {why}; give {fixed}")


def _known(value: onnx.ValueInfoProto, symbols: dict[str, int], name: str) -> list[int]:
    """Return the shape of an input that the user gave none for, or ask for it."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ModelError(f"{name}: input {value.name!r} is not a tensor; only networks from tensors to tensors compile")
    if not kind.HasField("shape"):
        raise ModelError(
            f"{name}: input {value.name!r} has no shape; give it, for instance --shape {value.name}=1x3x224x224"
        )
    axes = [symbols.get(axis, axis) if isinstance(axis, str) else axis for axis in _axes(value)]
    open_axes = [position for position, axis in enumerate(axes) if isinstance(axis, str)]
    if open_axes == [0] and len(axes) > 1:
        axes[0], open_axes = 1, []
        batch = kind.shape.dim[0]
        if batch.HasField("dim_value"):
            warnings.warn(
                f"{name}: input {value.name!r} declares its first axis as {batch.dim_value}; it is taken to be open, "
                f"and 1. Give --shape {value.name}={_text(list(axes))}, or with another number in front",
                stacklevel=2,
            )
    if open_axes:
        listed = ", ".join(
            f"axis {position}" + (f" ({axes[position]!r})" if axes[position] else "") for position in open_axes
        )
        wanted = [1 if position == 0 else axis for position, axis in enumerate(axes)]
        raise ModelError(
            f"{name}: how large is input {value.name!r}? The model leaves {listed} open; "
            f"give --shape {value.name}={_text(wanted)} with a number for each '?'"
        )
    return [int(axis) for axis in axes]
