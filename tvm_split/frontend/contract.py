"""What every stage after the frontend relies on, checked once."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax

from tvm_split.errors import ModelError, last_line
from tvm_split.passes.layering import INPUT_NAMES, OUTPUT_NAMES

SHAPE_FROM_DATA = {"relax.vision.all_class_non_max_suppression"}  # of fixed shape for TVM, filled to a length it counts
WITHOUT = "export the network without it, and do its work on the network's outputs"


def checked(mod: tvm.IRModule) -> tvm.IRModule:
    """Return `mod` with `num_input` on its `main`, or raise ModelError naming what a later stage could not take.

    Asked for: a function `main` whose parameters are tensors of known shape, all its work in dataflow blocks, every
    variable of known shape. A module whose weights are parameters is refused: bind them first.
    """
    if "main" not in [variable.name_hint for variable in mod.get_global_vars()]:
        raise ModelError("the module has no function 'main'; rename the network's function to 'main'")
    main = mod["main"]
    if not isinstance(main, relax.Function):
        raise ModelError("the module's 'main' is not a Relax function; import the network with tvm.relax.frontend")
    inputs = len(main.params)
    given = main.attrs["num_input"] if main.attrs and "num_input" in main.attrs else inputs
    if int(given) != inputs:
        raise ModelError(
            f"'main' has {inputs} parameters but num_input {int(given)}: its weights are parameters; bind them with "
            "relax.transform.BindParams so that only the network's inputs are left"
        )
    for parameter in main.params:
        _static(parameter)
    for block in main.body.blocks:
        if not isinstance(block, relax.DataflowBlock):
            raise ModelError(
                f"'main' has work outside a dataflow block (binding {block.bindings[0].var.name!r}); "
                "control flow and calls with side effects cannot be cut: remove them before import"
            )
        for binding in block.bindings:
            _static(binding.var, binding.value)
    if not inputs:
        raise ModelError("'main' has no parameters: all that the network gives is known beforehand; give it its input")
    if not any(isinstance(b.value, relax.Call) for block in main.body.blocks for b in block.bindings):
        raise ModelError("'main' computes nothing: its outputs are its inputs or constants; give the network itself")
    try:
        relax.analysis.well_formed(mod)
    except Exception as error:  # TVM's own kinds, ValueError and InternalError among them
        raise ModelError(f"the module is not well formed: {last_line(error)}; import the network again") from error
    copy = mod.clone()
    copy["main"] = main.with_attr("num_input", inputs)
    return copy


def with_output_names(mod: tvm.IRModule, names: Sequence[str]) -> tvm.IRModule:
    """Write on `main` what the model calls its outputs, in order, for `extract.output_names` to read."""
    named = mod.clone()
    named["main"] = mod["main"].with_attr(OUTPUT_NAMES, list(names))
    return named


def with_input_names(mod: tvm.IRModule, names: Sequence[str]) -> tvm.IRModule:
    """Write on `main` what the model's file calls its inputs, in order, for `extract.graph` to read."""
    named = mod.clone()
    named["main"] = mod["main"].with_attr(INPUT_NAMES, list(names))
    return named


def _static(variable: relax.Var, value: relax.Expr | None = None) -> None:
    operator = getattr(getattr(value, "op", None), "name", "")
    called = f"{variable.name!r} ({operator})" if operator else f"{variable.name!r}"
    if operator in SHAPE_FROM_DATA:
        raise ModelError(f"how much of {called} is filled depends on the data; {WITHOUT}")
    fields = [variable.ty]
    while fields:
        kind = fields.pop()
        if isinstance(kind, relax.TupleType):
            fields.extend(kind.fields)
        elif isinstance(kind, relax.ShapeType):
            continue
        elif not isinstance(kind, relax.TensorType) or not isinstance(kind.shape, relax.ShapeExpr):
            raise ModelError(
                f"{called} has the type {kind}; every tensor needs a shape known before run time; {WITHOUT}"
            )
        else:
            _fixed(called, kind.shape, computed=value is not None)


def _fixed(called: str, shape: relax.ShapeExpr, *, computed: bool) -> None:
    text = "x".join(str(getattr(axis, "value", axis)) for axis in shape.values)
    if not all(isinstance(axis, tvm.tirx.IntImm) for axis in shape.values):
        do = f"it depends on the data; {WITHOUT}" if computed else "give the network's inputs fixed shapes"
        raise ModelError(f"{called} has the shape {text}, but every axis must be a number: {do}")
    if any(int(axis) < 1 for axis in shape.values):
        raise ModelError(
            f"{called} has the shape {text}, so no elements: what it reads is smaller than its window, or a slice is "
            "empty; give the network a larger input (--shape)"
        )
