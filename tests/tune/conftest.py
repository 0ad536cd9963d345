"""A network of two layers that are quick to build: what is tuned, compiled and run in these tests."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm import tirx

from tvm_split import frontend, pipeline
from tvm_split.targets import load_target
from tvm_split.tune.kernels import kernels_of
from tvm_split.tvm_target import resolve


@pytest.fixture(scope="session")
def target():
    return resolve(load_target("host"))


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A pointwise and a depthwise convolution on (1, 8, 14, 14)."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((32, 8, 1, 1), np.float32),
        "w2": rng.standard_normal((32, 1, 3, 3), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="point"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["y"], name="depth", group=32, pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8, 14, 14))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 32, 14, 14))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.fixture(scope="session")
def layers(model):
    return pipeline.layers()(frontend.load(model))


@pytest.fixture(scope="session")
def kernels(layers, target):
    found = kernels_of(layers, target)
    assert all(isinstance(kernel.function, tirx.PrimFunc) for kernel in found)
    return found
