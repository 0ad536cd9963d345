"""A network of two layers and a view, in ONNX."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_split.bench import network
from tvm_split.bench.onnx_models import quantized, with_fixed_shapes


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """No other process, or what a test puts here: busy cores at each look, the last one for good."""
    looks: list[float | None] = [0.0]
    monkeypatch.setattr(network.load, "others", lambda _cores: looks.pop(0) if len(looks) > 1 else looks[0])
    return looks


@pytest.fixture
def two_layers(tmp_path: Path) -> Path:
    """convolution + relu, flatten, dense; the first axis of the input is open."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((4, 3, 3, 3), np.float32),
        "b": random.standard_normal(4, np.float32),
        "v": random.standard_normal((4 * 6 * 6, 5), np.float32),
        "c": random.standard_normal(5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["conv"], "stem", pads=[0, 0, 0, 0]),
        helper.make_node("Relu", ["conv"], ["relu"], "stem_relu"),
        helper.make_node("Flatten", ["relu"], ["flat"], "view"),
        helper.make_node("Gemm", ["flat", "v", "c"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes, "two-layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path = tmp_path / "two.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def quantised_layers(two_layers: Path, tmp_path: Path) -> Path:
    """The same as onnxruntime's static quantiser makes it."""
    samples = [[np.random.default_rng(seed).random((1, 3, 8, 8), np.float32)] for seed in range(4)]
    return quantized(with_fixed_shapes(two_layers, {}, tmp_path), samples, tmp_path)
