"""A layer's float32 arithmetic in NumPy: what it makes of other weights, without compiling it. No pass by itself.

    Given:   h = conv2d_bias_relu6(x)      the composite function of a layer
    Result:  a function of arrays          clip(sum over the taps of W[tap] x[tap] + b, 0, 6)

The sums are those of the layer in another order, so they are near its own and not the same bits: calibration asks for
no more. Layers with an operator that is not listed here have none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from tvm_split.passes import idioms
from tvm_split.passes.bindings import constant, operator, scalar
from tvm_split.passes.fold_batch_norm import CONVOLUTIONS, Layer, layer_of
from tvm_split.passes.layer_readings import windows

Run = Callable[..., np.ndarray]


#: idioms' erf is made for a few points
OPERATORS = {f"relax.{name}": function for name, function in idioms.OPERATORS.items() if name != "erf"}
OPERATORS["relax.nn.silu"] = idioms.ACTIVATIONS["silu"]


def in_numpy(function: relax.Function) -> Run | None:
    """The layer as a function of its arguments' arrays; None when it is not float32 arithmetic that is known here."""
    items = [item for block in function.body.blocks for item in block.bindings]
    steps = [_step(item.value) for item in items]
    if any(step is None for step in steps) or not isinstance(function.body.body, relax.Var):
        return None
    known = {*function.params, *(item.var for item in items)}
    reads = [[arg for arg in item.value.args if isinstance(arg, relax.Var)] for item in items]
    if any(str(item.var.ty.dtype) != "float32" for item in items) or not all(v in known for r in reads for v in r):
        return None

    def run(*arrays: np.ndarray) -> np.ndarray:
        values = dict(zip(function.params, arrays, strict=True))
        for item, step, read in zip(items, steps, reads, strict=True):
            assert step is not None
            values[item.var] = step(*(values[var] for var in read))
        return np.ascontiguousarray(values[function.body.body], np.float32)

    return run


def _step(value: relax.Expr) -> Run | None:
    """A binding's value as a function of the variables that it reads, in order."""
    name, layer = operator(value), layer_of(value)
    if layer is not None and not layer.transposed:
        if name in CONVOLUTIONS:
            return lambda x: convolved(layer, x)
        return lambda x: np.asarray(x @ layer.weight)
    given = [None if isinstance(arg, relax.Var) else _known(arg) for arg in value.args]
    unknown = sum(array is None for array in given) - sum(isinstance(arg, relax.Var) for arg in value.args)
    if name not in OPERATORS or unknown:
        return None

    def run(*arrays: np.ndarray) -> np.ndarray:
        rest = iter(arrays)
        with np.errstate(over="ignore"):  # of an exponential, whose inverse is 0
            return OPERATORS[name](*(next(rest) if array is None else array for array in given))

    return run


def _known(arg: relax.Expr) -> np.ndarray | None:
    """A constant, or a number among the operands, in float32."""
    found = constant(arg) if constant(arg) is not None else scalar(arg)
    return None if found is None else np.asarray(found, np.float32)


def convolved(layer: Layer, array: np.ndarray) -> np.ndarray:
    """The convolution's sums, tap after tap, in its layout. Not of a transposed one."""
    blocks = layer.blocks().astype(np.float32)  # groups, outputs, inputs, taps
    groups, outputs, inputs, _ = blocks.shape
    view, rank = windows(layer, array), len(layer.kernel_layout) - 2
    batch, places = len(view), view.shape[2 : 2 + rank]
    sums = np.zeros((batch, groups, outputs, int(np.prod(places))), np.float32)
    for number, tap in enumerate(np.ndindex(*view.shape[2 + rank :])):
        part = view[(..., *tap)].reshape(batch, groups, inputs, -1)
        weights = blocks[..., number]
        sums += weights * part if inputs == outputs == 1 else weights @ part
    attrs, letters = layer.call.attrs, [letter for letter in layer.kernel_layout if letter not in "OI"]
    axes = ["N", "C", *letters]
    out = sums.reshape(batch, groups * outputs, *places)
    return out.transpose([axes.index(letter) for letter in str(attrs.out_layout or attrs.data_layout)])
