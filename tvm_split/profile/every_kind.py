"""Layers of no network: of every kind that networks have, in sizes that networks may have.

A network that is planned with a cost model brings layers that none of the profiled ones has: a softmax over thousands
of classes, a filter of a thousand taps on one channel, weights that fill the memory's bandwidth. Here each kind is
drawn with sizes uniform in their logarithm, so that the model has seen their like. Weights are random.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op

from tvm_split.flops import elements, flops_of
from tvm_split.passes.bindings import bind
from tvm_split.profile.records import EVERY_KIND
from tvm_split.profile.sampled import RAISED, beside_each_other, least_extent

#: operations and elements of one layer, at most, and elements of its weights
MOST_FLOPS, MOST_ELEMENTS = 2e9, 4e6
MOST_WEIGHTS = 4e7
#: draws for each layer that is asked for, of which some are too large or fit nothing
DRAWS = 20
UNARY = (op.exp, op.log, op.sqrt, op.tanh, op.sigmoid, op.nn.relu, op.abs, op.negative, op.nn.silu, op.nn.gelu, op.erf)
BINARY = (op.add, op.multiply, op.divide, op.maximum, op.subtract)
REDUCTIONS = (op.mean, op.sum, op.max, op.min)
WINDOWS = (1, 1, 3, 3, 5, 7)

Emit = Callable[[relax.Expr], relax.Var]


class _Draw:
    """Random sizes, inputs and weights of one layer."""

    def __init__(self, draw: random.Random, number: int) -> None:
        self.random, self._number = draw, number
        self.params: list[relax.Var] = []

    def size(self, low: int, high: int) -> int:
        """Uniform in its logarithm; mostly a multiple of 4 where it is large."""
        found = round(math.exp(self.random.uniform(math.log(low), math.log(high))))
        return max(low, found // 4 * 4) if found > 16 and self.random.random() < 0.8 else found

    def input(self, *shape: int) -> relax.Var:
        self.params.append(relax.Var(f"x{self._number}_{len(self.params)}", relax.TensorType(shape, "float32")))
        return self.params[-1]

    def weight(self, *shape: int) -> relax.Expr:
        if math.prod(shape) > MOST_WEIGHTS:
            raise ValueError(f"weights of {math.prod(shape)} elements are too many")
        return relax.const(np.random.default_rng(0).standard_normal(shape, np.float32))

    def feature_map(self, most: int = 1 << 20) -> tuple[int, int, int]:
        """Channels, height and width, of no more elements."""
        total, height = self.size(16, most), self.size(1, 224)
        width = height if self.random.random() < 0.8 else self.size(1, 512)
        return max(1, total // (height * width)), height, width

    def ends(self, x: relax.Expr, channels: int, emit: Emit) -> relax.Expr:
        """What may follow a convolution or matmul: a bias and an activation."""
        if self.random.random() < 0.7:
            rank = len(x.ty.shape.values)
            x = emit(op.add(x, self.weight(*((1, channels) + (1,) * (rank - 2) if rank > 2 else (channels,)))))
        if self.random.random() < 0.6:
            x = emit(self.random.choice((op.nn.relu, op.sigmoid, op.nn.silu, op.tanh))(x))
        return x


def drawn(count: int, seed: int) -> tvm.IRModule:
    """A module whose `main` has about `count` such layers beside each other, float32."""
    draw = random.Random(f"{EVERY_KIND} {seed}")
    bindings: list[relax.VarBinding] = []
    params: list[relax.Var] = []
    outputs: list[relax.Var] = []
    for number in range(DRAWS * count):
        if len(outputs) == count:
            break
        here = _Draw(draw, number)
        made: list[relax.VarBinding] = []
        emit = partial(bind, made, f"t{number}")
        try:
            last = emit(draw.choice(KINDS)(here, emit))
            types = [item.ty for item in (*here.params, *(binding.var for binding in made))]
            flops: float = sum(flops_of(binding) for binding in made)
        except RAISED:  # sizes that do not go together
            continue
        possible = min(map(least_extent, types)) > 0 and max(map(elements, types)) <= MOST_ELEMENTS
        if flops <= MOST_FLOPS and possible:
            bindings += made
            params += here.params
            outputs.append(last)
    return beside_each_other(params, bindings, outputs)


def _elementwise(draw: _Draw, emit: Emit) -> relax.Expr:
    channels, height, width = draw.feature_map()
    x: relax.Expr = draw.input(1, channels, height, width)
    for _ in range(draw.random.randint(1, 4)):
        if draw.random.random() < 0.5:
            whole = (1, channels, height, width)
            shape = draw.random.choice((whole, whole, (1, channels, 1, 1), (width,), (1, 1, height, 1), (1,)))
            other = draw.input(*shape) if shape == whole else draw.weight(*shape)
            x = emit(draw.random.choice(BINARY)(x, other))
        else:
            x = emit(draw.random.choice(UNARY)(x))
    return x


def _softmax(draw: _Draw, emit: Emit) -> relax.Expr:
    return op.nn.softmax(draw.input(1, draw.size(1, 512), draw.size(4, 10_000)), axis=-1)


def _reduction(draw: _Draw, emit: Emit) -> relax.Expr:
    axes = draw.random.choice(([1], [2, 3], [3], [1, 2, 3]))
    return draw.random.choice(REDUCTIONS)(draw.input(1, *draw.feature_map()), axis=axes, keepdims=True)


def _pool(draw: _Draw, emit: Emit) -> relax.Expr:
    window, stride = draw.random.randint(2, 7), draw.random.randint(1, 3)
    pool = draw.random.choice((op.nn.max_pool2d, op.nn.avg_pool2d))
    x = draw.input(1, *draw.feature_map())
    return pool(x, pool_size=(window, window), strides=(stride, stride), padding=(window // 2,) * 4)


def _transpose(draw: _Draw, emit: Emit) -> relax.Expr:
    axes = draw.random.choice(([0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1, 3], [0, 1, 3, 2]))
    return op.permute_dims(draw.input(1, *draw.feature_map()), axes)


def _concat(draw: _Draw, emit: Emit) -> relax.Expr:
    shape, axis = [1, *draw.feature_map(1 << 18)], draw.random.randint(1, 3)
    most = max(2, (1 << 18) * shape[axis] // math.prod(shape))
    sizes = [draw.size(1, most) for _ in range(draw.random.randint(2, 5))]
    return op.concat([draw.input(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes], axis=axis)


def _slice(draw: _Draw, emit: Emit) -> relax.Expr:
    channels, height, width = draw.feature_map()
    x, axis = draw.input(1, channels, height, width), draw.random.randint(1, 3)
    extent, step = (channels, height, width)[axis - 1], draw.random.randint(1, 2)
    begin = draw.random.randint(0, max(0, extent // 2))
    return op.strided_slice(x, [axis], [begin], [extent], [step])


def _pad(draw: _Draw, emit: Emit) -> relax.Expr:
    shape: tuple[int, ...]
    if draw.random.random() < 0.4:  # a signal
        shape, axes, around = (1, draw.size(1, 64), draw.size(64, 44_100)), 1, draw.size(1, 256)
    else:
        shape, axes, around = (1, *draw.feature_map()), 2, draw.random.randint(1, 4)
    mode = draw.random.choice(("constant", "reflect"))
    if mode == "reflect" and around >= min(shape[-axes:]):  # TVM would read what lies before the tensor
        raise ValueError(f"{around} elements cannot be reflected in {shape[-axes:]}")
    return op.nn.pad(draw.input(*shape), [0, 0] * (len(shape) - axes) + [around] * 2 * axes, mode)


def _resize(draw: _Draw, emit: Emit) -> relax.Expr:
    channels, height, width = draw.feature_map(1 << 17)
    factor, x = draw.random.choice((2, 4, 8)), draw.input(1, channels, height, width)
    return op.image.resize2d(
        x, (factor * height, factor * width), layout="NCHW",
        method=draw.random.choice(("nearest_neighbor", "linear")),
        coordinate_transformation_mode=draw.random.choice(("half_pixel", "asymmetric", "align_corners")),
        rounding_method=draw.random.choice(("round", "floor")),
    )  # fmt: skip


def _matmul(draw: _Draw, emit: Emit) -> relax.Expr:
    rows = 1 if draw.random.random() < 0.4 else draw.size(1, 512)
    inner, columns = draw.size(4, 9216), draw.size(4, 8192)
    product = emit(op.matmul(draw.input(rows, inner), draw.weight(inner, columns)))
    return draw.ends(product, columns, emit)


def _classifier(draw: _Draw, emit: Emit) -> relax.Expr:
    """One row, and weights that mostly fit no core's own cache."""
    inner, columns = draw.size(1024, 16_384), draw.size(512, 8192)
    return draw.ends(emit(op.matmul(draw.input(1, inner), draw.weight(inner, columns))), columns, emit)


def _convolution(draw: _Draw, emit: Emit) -> relax.Expr:
    channels, height, width = draw.feature_map(1 << 19)
    window, stride = draw.random.choice(WINDOWS), draw.random.choice((1, 1, 2))
    kind = draw.random.random()
    groups, outer = (channels, channels) if kind < 0.25 else (1, draw.size(1, 512))
    weight = draw.weight(outer, channels // groups, window, window)
    x = draw.input(1, channels, height, width)
    made = emit(op.nn.conv2d(x, weight, strides=stride, padding=window // 2, groups=groups))
    return draw.ends(made, outer, emit)


def _filters(draw: _Draw, emit: Emit) -> relax.Expr:
    """Long windows along one axis, on one or a few channels: what audio networks begin with."""
    channels, length, taps = draw.size(1, 8), draw.size(64, 44_100), draw.size(8, 1024)
    weight = draw.weight(draw.size(1, 64), channels, 1, taps)
    stride = draw.random.choice((1, 1, 2, 16, 256))
    return op.nn.conv2d(draw.input(1, channels, 1, length), weight, strides=(1, stride))


KINDS = (
    _elementwise, _elementwise, _softmax, _reduction, _pool, _transpose, _concat, _slice, _pad, _resize, _matmul,
    _classifier, _convolution, _convolution, _filters,
)  # fmt: skip
