"""What the frontend's tests share: a small ONNX model with every kind of trouble to order, and running a module."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax


def _model(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of float inputs, name -> shape, whose output is 'y'."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _small(shape: list[int | str] | None = None, *, weight: np.ndarray | None = None) -> onnx.ModelProto:
    """conv (with bias) -> relu -> conv, add: a residual network on (1, 3, 8, 8), readable names."""
    random = np.random.default_rng(0)
    weights = {
        "w0": weight if weight is not None else random.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b0": random.standard_normal(4).astype(np.float32),
        "w1": random.standard_normal((4, 4, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="/stem/0.conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="/stem/1.relu"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], name="body", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c1", "r0"], ["y"]),
    ]
    return _model(nodes, {"x": [1, 3, 8, 8] if shape is None else shape}, weights)


def _run(mod: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    machine = relax.VirtualMachine(tvm.compile(mod, target="llvm"), tvm.cpu())
    result: Any = machine["main"](*[tvm.runtime.tensor(array) for array in inputs])
    return [tensor.numpy() for tensor in ([result] if hasattr(result, "numpy") else result)]


@pytest.fixture
def model() -> Callable[..., onnx.ModelProto]:
    return _model


@pytest.fixture
def small() -> Callable[..., onnx.ModelProto]:
    return _small


@pytest.fixture
def run() -> Callable[..., list[np.ndarray]]:
    return _run
