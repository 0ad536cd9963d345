"""EfficientNet-Lite0 as an ONNX graph, built from the weights of its torch checkpoint.

The network: Liu, "Higher accuracy on vision models with EfficientNet-Lite" (TensorFlow blog, 2020); weight names and
SAME padding as in the package efficientnet-lite-pytorch. "Lite" means ReLU6 for Swish and no squeeze-and-excite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tvm_split.errors import ModelError

SIZE = 224
CLASSES = 1000
EPSILON = 1e-3
# One stage a row: how often its block repeats, the depthwise kernel, the stride of the first block.
STAGES = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)]

Weights = Mapping[str, np.ndarray[Any, Any]]


def same_padding(size: int, kernel: int, stride: int) -> tuple[list[int], int]:
    """Return ONNX pads (top, left, bottom, right) and the output size, ceil(size / stride).

    An odd pixel of padding goes to the bottom and the right, as TensorFlow's SAME does.
    """
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    before = total // 2
    return [before, before, total - before, total - before], out


class _Graph:
    """Nodes and initializers, each layer's nodes named after the checkpoint's layer."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.low = self.constant("relu6.low", np.float32(0))
        self.high = self.constant("relu6.high", np.float32(6))

    def constant(self, name: str, array: Any) -> str:
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name)
        return name

    def weight(self, name: str) -> str:
        if name not in self.weights:
            raise ModelError(f"the checkpoint has no tensor {name!r}; it is not that of EfficientNet-Lite0")
        return self.constant(name, self.weights[name])

    def node(self, op: str, inputs: list[str], name: str, output: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output or name], name=name, **attributes))
        return output or name

    def conv_bn(
        self, x: str, conv: str, norm: str, name: str, size: int, *, stride: int = 1, groups: int = 1, act: bool = True
    ) -> tuple[str, int]:
        """Add convolution, batch norm and, with `act`, ReLU6; return the output's name and its height."""
        weight = self.weight(f"{conv}.weight")
        kernel = self.weights[weight].shape[2]
        pads, out = same_padding(size, kernel, stride)
        y = self.node(
            "Conv",
            [x, weight],
            f"{name}_conv",
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=pads,
            group=groups,
        )
        statistics = [self.weight(f"{norm}.{kind}") for kind in ("weight", "bias", "running_mean", "running_var")]
        y = self.node("BatchNormalization", [y, *statistics], f"{name}_bn", epsilon=EPSILON)
        return (self.node("Clip", [y, self.low, self.high], f"{name}_relu6") if act else y), out


def efficientnet_lite0(weights: Weights) -> onnx.ModelProto:
    """Return the network at opset 17: image (1, 3, 224, 224) float32, (x - 127) / 128 RGB -> logits (1, 1000).

    143 nodes: 49 convolutions, each with batch norm, 33 ReLU6 as Clip, 9 additions, pooling, flattening, one Gemm.
    Raises ModelError naming the tensor that `weights` lacks.
    """
    graph = _Graph(weights)
    x, size = graph.conv_bn("image", "_conv_stem", "_bn0", "stem", SIZE, stride=2)
    index = 0
    for repeats, _, first_stride in STAGES:
        for repeat in range(repeats):
            x, size = _block(graph, x, index, size, first_stride if repeat == 0 else 1, skip=repeat > 0)
            index += 1
    x, _ = graph.conv_bn(x, "_conv_head", "_bn1", "head", size)
    x = graph.node("GlobalAveragePool", [x], "pool")
    x = graph.node("Flatten", [x], "flatten", axis=1)
    graph.node("Gemm", [x, graph.weight("_fc.weight"), graph.weight("_fc.bias")], "classifier", "logits", transB=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])
    made = helper.make_graph(graph.nodes, "efficientnet_lite0", [image], [logits], list(graph.initializers.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _block(graph: _Graph, x: str, index: int, size: int, stride: int, *, skip: bool) -> tuple[str, int]:
    """Add one inverted residual block: expansion (if the checkpoint has one), depthwise, projection, addition."""
    prefix, name, y = f"_blocks.{index}", f"block{index}", x
    if f"{prefix}._expand_conv.weight" in graph.weights:
        y, _ = graph.conv_bn(y, f"{prefix}._expand_conv", f"{prefix}._bn0", f"{name}_expand", size)
    groups = graph.weights[graph.weight(f"{prefix}._depthwise_conv.weight")].shape[0]
    y, size = graph.conv_bn(
        y, f"{prefix}._depthwise_conv", f"{prefix}._bn1", f"{name}_depthwise", size, stride=stride, groups=groups
    )
    y, _ = graph.conv_bn(y, f"{prefix}._project_conv", f"{prefix}._bn2", f"{name}_project", size, act=False)
    return (graph.node("Add", [y, x], f"{name}_add") if skip else y), size
