"""Begin the network at the raw picture: bytes in, and what the network wants done to them as its first operators.

    Given:   main(image: (1, 3, H, W) float32) = network(image)
    Result:  main(image: (1, H, W, 3) uint8) = network(layout)
             swap   = flip(image, axis=3)                   if the network reads BGR
             cast   = astype(swap, float32)
             scale  = multiply(cast, scale / std)           unless all are 1
             shift  = subtract(scale, mean / std)           unless all are 0
             layout = permute_dims(shift, [0, 3, 1, 2])     unless the network reads NHWC

So cloud-only is priced at the bytes that a camera gives. The two constants are computed in float64 and rounded to
float32 once; with u = 2**-24, each result is within 2 u (|x * scale / std| + |mean / std|) + u |y| of
y = (x * scale - mean) / std, and exact where both constants and the product are (a scale of 1, a std that is a power
of two). The layout of H and W stays: resizing is left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.passes.bindings import bind

SHAPES = {
    "NCHW": "floats of shape (N, 3, H, W)", "NHWC": "floats of shape (N, H, W, 3)",
    "auto": "floats of shape (N, 3, H, W) or (N, H, W, 3)",
}  # fmt: skip


@tvm.transform.module_pass(opt_level=0, name="Preprocess")
@dataclass(frozen=True)
class Preprocess:
    """Put `spec` in front of the input called `name` ('': the only input that is a float picture).

    ModelError when there is no such input, more than one, or it is no picture: floats of shape (N, 3, H, W) or
    (N, H, W, 3), as the spec's layout says.
    """

    spec: PreprocessSpec
    name: str = ""

    if TYPE_CHECKING:  # what module_pass makes of the class

        def __call__(self, mod: tvm.IRModule) -> tvm.IRModule: ...

    def transform_module(self, mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        main = mod["main"]
        old = self._input(main)
        layout = _layout(old, self.spec.layout)
        if not layout:
            reads = _layout(old, "auto")
            raise ModelError(
                f"input {old.name!r} has the type {old.ty}; preprocessing with layout {self.spec.layout!r} needs "
                + SHAPES[self.spec.layout]
                + (f"; layout is the network's: this network reads {reads}" if reads else "")
            )
        batch, *rest = (int(axis) for axis in old.ty.shape.values)
        height, width = rest[1:] if layout == "NCHW" else rest[:2]
        frame = relax.Var(old.name, relax.TensorType((batch, height, width, 3), "uint8"))
        chain = _chain(frame, self.spec, layout, str(old.ty.dtype))
        bound = main.bind_params({old: chain[-1].var})
        parameters = list(bound.params)
        parameters.insert([parameter.same_as(old) for parameter in main.params].index(True), frame)
        first, *others = bound.body.blocks
        blocks = [relax.DataflowBlock([*chain, *first.bindings]), *others]
        result = mod.clone()
        body = relax.BlockBuilder().normalize(relax.SeqExpr(blocks, bound.body.body))
        result["main"] = relax.Function(parameters, body, bound.ret_ty, bound.is_pure, bound.attrs)
        return result

    def _input(self, main: relax.Function) -> relax.Var:
        listed = ", ".join(f"{parameter.name}: {parameter.ty}" for parameter in main.params)
        if self.name:
            found = [parameter for parameter in main.params if parameter.name == self.name]
        else:
            found = [parameter for parameter in main.params if _layout(parameter, self.spec.layout)] or list(
                main.params
            )
        if len(found) != 1:
            wanted = f"called {self.name!r}" if self.name else "that alone is a picture; name one"
            raise ModelError(f"preprocessing: there is no input {wanted}; the inputs are {listed}")
        return found[0]


def _layout(parameter: relax.Var, wanted: str) -> str:
    """Return 'NCHW' or 'NHWC', or '' when the parameter is no float picture of that layout."""
    kind = parameter.ty
    if not isinstance(kind, relax.TensorType) or not isinstance(kind.shape, relax.ShapeExpr):
        return ""
    axes = [int(axis) if isinstance(axis, tvm.tirx.IntImm) else -1 for axis in kind.shape.values]
    if len(axes) != 4 or min(axes) < 1 or not str(kind.dtype).startswith("float"):
        return ""
    fits = [layout for layout, axis in (("NCHW", 1), ("NHWC", 3)) if axes[axis] == 3 and wanted in ("auto", layout)]
    return fits[0] if fits else ""


def _chain(frame: relax.Var, spec: PreprocessSpec, layout: str, dtype: str) -> list[relax.VarBinding]:
    """Return the bindings of the file's docstring, each reading the one before; never empty."""
    bindings: list[relax.VarBinding] = []

    def then(name: str, make: Callable[[relax.Expr], relax.Expr]) -> None:
        bind(bindings, f"preprocess_{name}", make(bindings[-1].var if bindings else frame))

    multiplier, offset = (np.array(values, dtype) for values in (spec.multiplier, spec.offset))
    if spec.channels == "bgr":
        then("swap", lambda x: relax.op.flip(x, axis=3))
    then("cast", lambda x: relax.op.astype(x, dtype))
    if (multiplier != 1).any():
        then("scale", lambda x: relax.op.multiply(x, relax.const(multiplier)))
    if (offset != 0).any():
        then("shift", lambda x: relax.op.subtract(x, relax.const(offset)))
    if layout == "NCHW":
        then("layout", lambda x: relax.op.permute_dims(x, [0, 3, 1, 2]))
    return bindings
