"""Networks that are not: layers whose shapes lie around those of a real network's, to fit a cost model between them.

Each convolution and matrix product is taken with other channels and another picture: its channels times up to two
either way, its height and width times up to one and a half. Kernel, strides, groups and what follows stay of their
kind. Depth-wise stays depth-wise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.flops import extents
from tvm_split.passes.bindings import operator
from tvm_split.passes.layering import layer_calls

ACTIVATIONS = frozenset({"relax.nn.relu", "relax.clip", "relax.nn.leakyrelu", "relax.nn.prelu"})
#: what channels are a multiple of, where the real ones are
STEPS = (16, 8, 4, 1)
#: multiply-adds and elements above which a layer would take seconds
MOST_MACS, MOST_ELEMENTS = 2e9, 2e7


@dataclass(frozen=True, slots=True)
class Convolution:
    """channels in, out; height, width of the picture; kernel; strides; padding; groups; whether a ReLU or its
    like follows."""

    channels: tuple[int, ...]
    picture: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    relu: bool


@dataclass(frozen=True, slots=True)
class Product:
    """rows x inner times inner x columns."""

    rows: int
    inner: int
    columns: int


def shapes_of(mod: tvm.IRModule) -> list[Convolution | Product]:
    """The 2-D convolutions and matrix products with constant weights of a module of layers, each distinct one once."""
    found: dict[Convolution | Product, None] = {}
    for _, callee in layer_calls(mod):
        calls = [
            item.value for block in callee.body.blocks for item in block.bindings if isinstance(item.value, relax.Call)
        ]
        names = [operator(call) for call in calls]
        for call, name in zip(calls, names, strict=True):
            shape = _shape(call, name, not ACTIVATIONS.isdisjoint(names))
            if shape is not None:
                found[shape] = None
    return list(found)


def around(shapes: list[Convolution | Product], count: int, seed: int) -> list[Convolution | Product]:
    """`count` distinct shapes near those given, or as many as there are."""
    draw = random.Random(seed)
    found: dict[Convolution | Product, None] = {}
    for _ in range(20 * count):
        if len(found) == count or not shapes:
            break
        made = _near(draw.choice(shapes), draw)
        if made not in shapes and _affordable(made):
            found[made] = None
    return list(found)


def network(shapes: list[Convolution | Product]) -> tvm.IRModule:
    """A module whose `main` has each shape as a layer of its own, beside the others. Weights are random."""
    generator = np.random.default_rng(0)
    params = [relax.Var(f"x{i}", relax.TensorType(_input(shape), "float32")) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            made = [builder.emit(value) for value in _bodies(builder, params, shapes, generator)]
            out = builder.emit_output(relax.Tuple(made))
        builder.emit_func_output(out)
    mod = builder.get()
    mod["main"] = mod["main"].with_attr("num_input", len(params))
    return mod


def _bodies(
    builder: relax.BlockBuilder, params: list[relax.Var], shapes: list[Convolution | Product], draw: np.random.Generator
) -> Iterator[relax.Expr]:
    for param, shape in zip(params, shapes, strict=True):
        if isinstance(shape, Product):
            weight = draw.standard_normal((shape.inner, shape.columns), np.float32)
            yield relax.op.add(
                builder.emit(relax.op.matmul(param, relax.const(weight))), _constant(draw, (shape.columns,))
            )
            continue
        inner = shape.channels[0] // shape.groups
        convolution = builder.emit(
            relax.op.nn.conv2d(
                param, _constant(draw, (shape.channels[1], inner, *shape.kernel)), strides=list(shape.strides),
                padding=list(shape.padding), dilation=list(shape.dilation), groups=shape.groups,
            )
        )  # fmt: skip
        biased = relax.op.add(convolution, _constant(draw, (1, shape.channels[1], 1, 1)))
        yield relax.op.nn.relu(builder.emit(biased)) if shape.relu else biased


def _constant(draw: np.random.Generator, shape: tuple[int, ...]) -> relax.Constant:
    return relax.const(draw.standard_normal(shape, np.float32))


def _input(shape: Convolution | Product) -> list[int]:
    if isinstance(shape, Product):
        return [shape.rows, shape.inner]
    return [1, shape.channels[0], *shape.picture]


def _shape(call: relax.Call, name: str, relu: bool) -> Convolution | Product | None:
    """None for what is neither, or is no 2-D convolution of one picture, or has weights that are computed."""
    if name == "relax.nn.conv2d":
        data, weight = (extents(arg.ty) for arg in call.args)
        attrs = call.attrs
        if data[0] != 1 or str(attrs.data_layout) != "NCHW" or str(attrs.kernel_layout) != "OIHW":
            return None
        pair = [tuple(int(value) for value in values) for values in (attrs.strides, attrs.padding, attrs.dilation)]
        return Convolution(
            (data[1], weight[0]), (data[2], data[3]), (weight[2], weight[3]), pair[0], pair[1], pair[2],
            int(attrs.groups), relu,
        )  # fmt: skip
    if name == "relax.matmul":
        left, right = (extents(arg.ty) for arg in call.args)
        if len(right) == 2 and len(left) >= 2:
            return Product(int(np.prod(left[:-1])), right[0], right[1])
    return None


def _near(shape: Convolution | Product, draw: random.Random) -> Convolution | Product:
    if isinstance(shape, Product):
        return Product(_scaled(shape.rows, 1.5, draw), _scaled(shape.inner, 2, draw), _scaled(shape.columns, 2, draw))
    ins, outs = (_scaled(count, 2, draw) for count in shape.channels)
    groups = shape.groups
    if groups == shape.channels[0]:  # depth-wise; a multiplier of channels stays one
        outs, groups = ins * (shape.channels[1] // shape.channels[0]), ins
    elif groups > 1:
        ins, outs = shape.channels
    larger = draw.uniform(1 / 1.5, 1.5)
    reach = [(kernel - 1) * step + 1 for kernel, step in zip(shape.kernel, shape.dilation, strict=True)]
    picture = [max(round(extent * larger), most) for extent, most in zip(shape.picture, reach, strict=True)]
    return Convolution(
        (ins, outs), (picture[0], picture[1]), shape.kernel, shape.strides, shape.padding, shape.dilation, groups,
        shape.relu,
    )  # fmt: skip


def _scaled(count: int, most: float, draw: random.Random) -> int:
    """`count` times a factor up to `most` either way, a multiple of what `count` is one of."""
    step = next(step for step in STEPS if count % step == 0)
    if count <= 4:
        return count
    factor: float = most ** draw.uniform(-1, 1)
    return max(step, round(count * factor / step) * step)


def _affordable(shape: Convolution | Product) -> bool:
    if isinstance(shape, Product):
        return shape.rows * shape.inner * shape.columns < MOST_MACS and shape.inner * shape.columns < MOST_ELEMENTS
    outputs = shape.channels[1] * shape.picture[0] * shape.picture[1] / shape.strides[0] / shape.strides[1]
    macs = outputs * shape.channels[0] // shape.groups * shape.kernel[0] * shape.kernel[1]
    return macs < MOST_MACS and outputs + shape.channels[0] * shape.picture[0] * shape.picture[1] < MOST_ELEMENTS
