"""Networks that are not: the layers of a real one with other extents, to fit a cost model between them.

Every extent of a layer above `FEW` is scaled by up to two either way, the same one alike wherever the layer has it, so
that what is added still fits and depth-wise stays depth-wise. Smaller extents and windows mostly stay; now and then
they become others, or a large extent becomes small, so that the model has seen more than the kinds of these networks:
one channel, long windows, hardly anything to do. Weights are random. Layers of which TVM infers no type then (a reshape
to a number) are left out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import numpy as np
import tvm
from tvm import relax

from tvm_split.flops import elements, extents, flops_of
from tvm_split.passes.bindings import bind, maker, operator
from tvm_split.passes.layering import is_constant, layer_calls

#: extents up to this are coordinates, colours and small batches
FEW = 4
#: how often these, and windows, become others, up to how many times as large
CHANGED, WIDEST = 0.25, 8
#: how often some of the larger extents become so few, and which share of them then
THINNED, THIN = 0.15, 0.3
#: how much larger or smaller an extent may become
SCALE = 2.0
#: what an extent stays a multiple of, unless it is no more than that
STEPS = (16, 8, 4, 1)
#: operations and elements above which a layer would take seconds
MOST_FLOPS, MOST_ELEMENTS = 4e9, 2e7
#: draws for each layer that is asked for
DRAWS = 10
#: convolutions, whose weights end in a window
CONVOLUTIONS = ("relax.nn.conv1d", "relax.nn.conv2d", "relax.nn.conv3d", "relax.nn.conv2d_transpose")
RAISED = (tvm.error.InternalError, ValueError, TypeError, RuntimeError)


def around(mod: tvm.IRModule, count: int, seed: int) -> tvm.IRModule | None:
    """A module whose `main` has at most `count` layers near those of `mod`, a module of layers, beside each other.

    None where no layer of `mod` can be had in another size.
    """
    draw = random.Random(seed)
    functions = [callee for _, callee in layer_calls(mod)]
    found: list[relax.Function] = []
    for _ in range(DRAWS * count if functions else 0):
        if len(found) == count:
            break
        function, resize = draw.choice(functions), _Resize(draw)
        if (made := _resized(function, resize)) is not None:
            found.append(made)
    return _network(found) if found else None


def _network(functions: list[relax.Function]) -> tvm.IRModule:
    params: list[relax.Var] = []
    bindings: list[relax.VarBinding] = []
    made = []
    for i, function in enumerate(functions):
        own = [relax.Var(f"x{i}_{j}", param.ty) for j, param in enumerate(function.params)]
        made.append(_bound(bindings, function, own, None))
        params += own
    return beside_each_other(params, bindings, made)


def beside_each_other(
    params: list[relax.Var], bindings: list[relax.VarBinding], outputs: list[relax.Var]
) -> tvm.IRModule:
    """A module whose `main` binds these and returns the outputs as a tuple."""
    out = relax.Var("out", relax.TupleType([each.ty for each in outputs]))
    block = relax.DataflowBlock([*bindings, relax.VarBinding(out, relax.Tuple(outputs))])
    main = relax.Function(params, relax.SeqExpr([block], out), out.ty, is_pure=True)
    mod = tvm.IRModule({"main": main.with_attrs({"global_symbol": "main", "num_input": len(params)})})
    return relax.transform.Normalize()(mod)


def _resized(function: relax.Function, resize: _Resize) -> relax.Function | None:
    """The layer's function in another size; None when it has no other, cannot have it, or would take too long."""
    params = [relax.Var(param.name, _resized_type(param.ty, resize)) for param in function.params]
    if all(extents(old.ty) == extents(new.ty) for old, new in zip(function.params, params, strict=True)):
        return None
    bindings: list[relax.VarBinding] = []
    try:
        out = _bound(bindings, function, params, resize)
        types = [item.ty for item in (*params, *(binding.var for binding in bindings))]
        if min(map(least_extent, types)) < 1:
            return None  # a slice has nothing left, or a window is longer than its input
        flops, most = sum(flops_of(binding) for binding in bindings), max(elements(ty) for ty in types)
    except RAISED:  # this size does not fit what the layer does
        return None
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], out)
    fits = flops <= MOST_FLOPS and most <= MOST_ELEMENTS
    return relax.Function(params, body, out.ty, is_pure=True) if fits else None


def least_extent(ty: relax.Type) -> int:
    """The least of a tensor's extents, or of all tensors' of a tuple; TVM infers negative ones where nothing fits."""
    if isinstance(ty, relax.TupleType):
        return min(map(least_extent, ty.fields))
    return min(extents(ty), default=1)


def _bound(
    bindings: list[relax.VarBinding], function: relax.Function, params: list[relax.Var], resize: _Resize | None
) -> relax.Var:
    """What the function returns for `params`, its bindings anew at the end of `bindings`; `resize` None: as it is."""
    known: dict[relax.Var, relax.Expr] = dict(zip(function.params, params, strict=True))
    for block in function.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call):
                windows = 2 if operator(value) in CONVOLUTIONS else None
                value = _call(value, [_argument(arg, known, resize, windows) for arg in value.args], resize)
            else:
                value = _argument(value, known, resize, None)
            known[binding.var] = bind(bindings, f"t{len(bindings)}", value)
    return known[function.body.body]


def _argument(
    arg: relax.Expr, known: Mapping[relax.Var, relax.Expr], resize: _Resize | None, windows: int | None
) -> relax.Expr:
    """windows: from which dimension on a constant's extents are a window's."""
    if isinstance(arg, relax.Var):
        return known[arg]
    if isinstance(arg, tvm.ir.GlobalVar):
        raise ValueError("a kernel's loops have the size that they have")
    if isinstance(arg, relax.Tuple):
        return relax.Tuple([_argument(field, known, resize, windows) for field in arg.fields])
    if resize is None:
        return arg
    if isinstance(arg, relax.ShapeExpr):
        return relax.ShapeExpr([resize(int(extent)) for extent in arg.values])
    if is_constant(arg):
        shape = extents(arg.ty)
        wanted = tuple(resize.window(extent) if windows is not None and len(shape) > 2 and i >= windows
                       else resize(extent) for i, extent in enumerate(shape))  # fmt: skip
        if math.prod(wanted) > MOST_ELEMENTS:
            raise ValueError(f"weights of {math.prod(wanted)} elements are too many")
        return arg if wanted == shape else relax.const(_values(wanted, str(arg.ty.dtype)))
    return arg


def _call(call: relax.Call, args: list[relax.Expr], resize: _Resize | None) -> relax.Expr:
    groups = int(getattr(call.attrs, "groups", 1)) if operator(call) in CONVOLUTIONS else 1
    if resize is None or groups == 1:
        return relax.Call(call.op, args, call.attrs, call.ty_args)
    names = ("strides", "padding", "dilation")
    attrs = {name: [int(value) for value in getattr(call.attrs, name)] for name in names}
    return maker(call)(*args, **attrs, groups=resize(groups), data_layout=str(call.attrs.data_layout),
                       kernel_layout=str(call.attrs.kernel_layout))  # fmt: skip


def _resized_type(ty: relax.Type, resize: _Resize) -> relax.TensorType:
    return relax.TensorType([resize(extent) for extent in extents(ty)], str(ty.dtype))


def _values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Floats of a standard normal distribution, anything else 0: an index that is valid everywhere."""
    if np.dtype(dtype).kind != "f":
        return np.zeros(shape, dtype)
    return np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype, copy=False)


class _Resize:
    """Extent -> another one, the same one for the same extent. Windows by themselves: 3 of 3x3 is not 3 colours."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._known: dict[tuple[str, int], int] = {}
        self._few, self._windows = draw.random() < CHANGED, draw.random() < CHANGED
        self._thin = THIN if draw.random() < THINNED else 0.0

    def __call__(self, extent: int) -> int:
        if extent > FEW:
            return self._once("extent", extent, self._scaled)
        return self._once("few", extent, self._wider) if self._few and extent > 1 else extent

    def window(self, extent: int) -> int:
        return self._once("window", extent, self._wider) if self._windows and extent > 1 else extent

    def _once(self, kind: str, extent: int, make: Callable[[int], int]) -> int:
        if (kind, extent) not in self._known:
            self._known[kind, extent] = make(extent)
        return self._known[kind, extent]

    def _scaled(self, extent: int) -> int:
        if self._draw.random() < self._thin:
            return self._draw.randint(1, FEW)
        step = next(step for step in STEPS if extent % step == 0 and (2 * step <= extent or step == 1))
        factor: float = SCALE ** self._draw.uniform(-1, 1)
        return max(step, round(extent * factor / step) * step)

    def _wider(self, extent: int) -> int:
        return self._draw.randint(1, WIDEST * extent)
