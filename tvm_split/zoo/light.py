"""onnx's light models with random weights: AlexNet, VGG-19, GoogLeNet and ResNet-50 in their true structure.

The light models keep each network's graph and make every weight by `ConstantOfShape`, so a file of some kilobytes
stands for one of hundreds of megabytes. Constant weights make every channel equal; here they become random ones that
keep activations finite and about one in variance (He et al., "Delving Deep into Rectifiers", 2015).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

SEED = 2021
OPSET = 13


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with weights drawn afresh, the same ones on every machine, and its nodes named readably.

    Convolution and matrix weights: normal with variance 2 / fan-in. Biases: zero. Batch norm: scale near 1, shift 0,
    mean near 0, variance near 1; where a batch norm feeds an addition its scale is near 1/2, else a residual network's
    variance would double in each block and its softmax saturate. A weight's values depend on its name and shape only.
    Inputs that were weights are inputs no longer. The opset becomes 13.
    """
    model = version_converter.convert_version(model, OPSET)  # now, while the weights are small
    graph = model.graph
    shapes = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    sizes: dict[str, tuple[int, ...]] = {name: array.shape for name, array in shapes.items()}
    made = {node.output[0]: node for node in graph.node if node.op_type == "ConstantOfShape"}
    for output, node in made.items():
        sizes[output] = tuple(int(axis) for axis in shapes[node.input[0]])
    shape_inputs = {node.input[0] for node in made.values()}
    roles = _roles(graph.node)
    kept = [weight for weight in graph.initializer if weight.name not in shape_inputs and weight.name not in roles]
    drawn = [numpy_helper.from_array(_draw(name, role, sizes[name]), name) for name, role in roles.items()]
    weights = {weight.name for weight in graph.initializer} | set(roles)
    nodes = [node for node in graph.node if node.output[0] not in roles]
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.node[:], graph.input[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.initializer.extend(kept + drawn)
    model.ir_version = max(model.ir_version, 4)  # older files must list every weight as an input
    _name(graph)
    return model


def _roles(nodes: Sequence[onnx.NodeProto]) -> dict[str, str]:
    """Return weight name -> role, in the order of use: 'weight', or which input of its node it is."""
    roles: dict[str, str] = {}
    reshaped = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Reshape"}
    added = {name for node in nodes if node.op_type == "Sum" for name in node.input}
    for node in nodes:
        kinds = {
            "Conv": ("weight", "bias"),
            "Gemm": ("weight", "bias"),
            "BatchNormalization": ("added" if node.output[0] in added else "scale", "bias", "mean", "variance"),
        }.get(node.op_type, ())
        for name, kind in zip(node.input[1:], kinds, strict=False):
            roles.setdefault(reshaped.get(name, name), kind)
    return roles


def _draw(name: str, role: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    random = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    if role == "weight":
        values = random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        return values
    if role in ("scale", "variance"):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    if role == "added":
        return random.uniform(0.4, 0.6, shape).astype(np.float32)
    return np.zeros(shape, np.float32) if role == "bias" else random.uniform(-0.1, 0.1, shape).astype(np.float32)


def _name(graph: onnx.GraphProto) -> None:
    """Name each node after its weight ('conv1_1' from 'conv1_1_w_0'), or after the node it follows ('conv1_1_relu')."""
    reshaped = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Reshape"}
    taken: dict[str, int] = {}
    producer: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            name = reshaped.get(node.input[1], node.input[1]).removeprefix("gpu_0/").removesuffix("_w_0")
        elif node.op_type == "BatchNormalization":
            name = node.input[1].removeprefix("gpu_0/").removesuffix("_s_0")
        else:
            name = f"{producer.get(next(iter(node.input), ''), 'input')}_{node.op_type.lower()}"
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for output in node.output:
            producer[output] = node.name
