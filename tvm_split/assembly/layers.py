"""One layer of every convolution and dense kernel, in shapes of real networks, and its machine code for an ARM core."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from tvm_split.layer_kernels import Program, lower_layers
from tvm_split.pipeline import layers

#: cores that code is shown for; the third is no core but what the emulator's `max` has beyond them
CORES: Mapping[str, Mapping[str, object]] = {
    "cortex-a72": {"mcpu": "cortex-a72"},
    "cortex-a76": {"mcpu": "cortex-a76"},
    "max": {"mcpu": "cortex-a76", "mattr": ["+i8mm"]},
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution [batch, inner, height, width] -> outer channels with a window, or, without one, [rows, inner] x
    [inner, outer]. `height` is a product's rows. With as many groups as channels it is depthwise."""

    kind: str
    network: str
    inner: int
    outer: int
    height: int
    width: int = 1
    window: int = 0
    stride: int = 1
    padding: int = 0
    groups: int = 1
    batch: int = 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.batch, self.inner, self.height, self.width) if self.window else (self.height, self.inner)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if not self.window:
            return self.inner, self.outer
        return self.outer, self.inner // self.groups, self.window, self.window

    @property
    def name(self) -> str:
        size = f"{self.height}x{self.width}, " if self.window else f"{self.height} x "
        strided = f", stride {self.stride}" if self.stride > 1 else ""
        channels = f"{self.inner}" if self.groups == self.inner > 1 else f"{self.inner} to {self.outer}"
        return f"{size}{channels}{strided}"

    @property
    def multiply_adds(self) -> int:
        if not self.window:
            return self.height * self.inner * self.outer
        rows, columns = ((n + 2 * self.padding - self.window) // self.stride + 1 for n in (self.height, self.width))
        return self.batch * rows * columns * math.prod(self.weight_shape)


#: what docs/arm.md lists
LISTED = (
    Layer("3x3", "ResNet-50", 64, 64, 56, 56, 3, padding=1),
    Layer("3x3", "ResNet-50", 512, 512, 7, 7, 3, padding=1),
    Layer("3x3, 3 channels", "EfficientNet-Lite0", 3, 32, 224, 224, 3, 2, 1),
    Layer("7x7", "ResNet-50", 3, 64, 224, 224, 7, 2, 3),
    Layer("5x5", "GoogLeNet", 16, 32, 28, 28, 5, padding=2),
    Layer("1x1", "ResNet-50", 64, 256, 56, 56, 1),
    Layer("1x1", "EfficientNet-Lite0", 480, 112, 14, 14, 1),
    Layer("depthwise 3x3", "EfficientNet-Lite0", 144, 144, 56, 56, 3, padding=1, groups=144),
    Layer("depthwise 3x3", "EfficientNet-Lite0", 96, 96, 112, 112, 3, 2, 1, 96),
    Layer("depthwise 5x5", "EfficientNet-Lite0", 480, 480, 14, 14, 5, padding=2, groups=480),
    Layer("dense", "transformer", 768, 768, 128),
    Layer("dense, 1 row", "ResNet-50", 2048, 1000, 1),
)


def network(layer: Layer, dtype: str = "float32", seed: int = 0, signs: bool = False) -> tvm.IRModule:
    """A network of the layer alone, with random weights and a bias. A convolution ends in clip to [0, 6].

    With `signs` all of them are -1, 0 or 1, so that the sums of such data are exact in every dtype.
    """
    rng = np.random.default_rng(seed)

    def random(shape: tuple[int, ...]) -> relax.Expr:
        values = rng.integers(-1, 2, shape) if signs else rng.standard_normal(shape) / 4
        return relax.const(values.astype(dtype))

    x = relax.Var("x", relax.TensorType(layer.input_shape, dtype))
    weight, bias = random(layer.weight_shape), random((1, layer.outer, 1, 1) if layer.window else (layer.outer,))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            if layer.window:
                sums = builder.emit(
                    relax.op.nn.conv2d(x, weight, layer.stride, layer.padding, groups=layer.groups, out_dtype=dtype)
                )
            else:
                sums = builder.emit(relax.op.matmul(x, weight))
            out = builder.emit(relax.op.add(sums, bias))
            out = builder.emit_output(relax.op.clip(out, 0, 6) if layer.window else out)
        builder.emit_func_output(out)
    return builder.get()


#: what the data of integer layers have for zero
ZERO_POINT = 7


def integer_network(layer: Layer, seed: int = 0) -> tvm.IRModule:
    """A network of the layer alone, as lower-qdq leaves one: uint8 data, int8 weights, int32 sums, a bias.

    The weights hold both extremes; the first output channel's are all -128.
    """
    rng = np.random.default_rng(seed)
    x = relax.Var("x", relax.TensorType(layer.input_shape, "uint8"))
    values = rng.integers(-128, 128, layer.weight_shape, dtype="int8")
    values[(0,) if layer.window else (..., 0)] = -128
    bias = rng.integers(-(2**20), 2**20, (1, layer.outer, 1, 1) if layer.window else (layer.outer,), dtype="int32")
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            data: relax.Expr = x
            if layer.padding:
                data = builder.emit(relax.op.nn.pad(x, [0, 0, 0, 0, *[layer.padding] * 4], "constant", ZERO_POINT))
            if layer.window:
                sums = relax.op.nn.conv2d(
                    data, relax.const(values), layer.stride, 0, groups=layer.groups, out_dtype="int32"
                )
            else:
                sums = relax.op.matmul(data, relax.const(values), out_dtype="int32")
            out = builder.emit(relax.op.add(builder.emit(sums), relax.const(bias)))
            result = builder.emit_output(out)
        builder.emit_func_output(result)
    return builder.get()


def arm_target(core: str) -> tvm.target.Target:
    """The target of a name in CORES, with one core: a kernel's code is the same for more of them, its tasks differ."""
    return tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 1, **CORES[core]})


def program(network: tvm.IRModule, target: tvm.target.Target) -> Program:
    """The kernels that a half has for a network of one layer. ValueError when it is anything else."""
    lowered = lower_layers(layers()(network), target)
    if lowered.modules or len(lowered.programs) != 1:
        raise ValueError(f"not one layer of kernels: {list(lowered.modules) or list(lowered.programs)}")
    (found,) = lowered.programs.values()
    return found


def assembly(network: tvm.IRModule, target: tvm.target.Target) -> str:
    """The machine code of the layer's own kernel, without those that only change a layout."""
    kernel = program(network, target).kernel
    return str(tvm.compile(tvm.IRModule({kernel.symbol: kernel.function}), target).mod.inspect_source("asm"))
