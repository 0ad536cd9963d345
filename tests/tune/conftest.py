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


def saved(path, nodes, weights, given, made):
    """A network of one input and one output of these shapes, with float32 weights of these."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in weights.items()}
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A pointwise and a depthwise convolution on (1, 8, 14, 14)."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="point"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["y"], name="depth", group=32, pads=[1, 1, 1, 1]),
    ]
    weights = {"w1": (32, 8, 1, 1), "w2": (32, 1, 3, 3)}
    return saved(tmp_path_factory.mktemp("model") / "small.onnx", nodes, weights, (1, 8, 14, 14), (1, 32, 14, 14))


@pytest.fixture(scope="session")
def one_layer(tmp_path_factory):
    """A pointwise convolution alone: which kernel is the costliest does not depend on the clock."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="point")]
    path = tmp_path_factory.mktemp("model") / "one.onnx"
    return saved(path, nodes, {"w": (32, 8, 1, 1)}, (1, 8, 14, 14), (1, 32, 14, 14))


@pytest.fixture(scope="session")
def stem(tmp_path_factory):
    """A convolution with padding on three channels."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2])]
    path = tmp_path_factory.mktemp("model") / "stem.onnx"
    return saved(path, nodes, {"w": (32, 3, 3, 3)}, (1, 3, 64, 64), (1, 32, 32, 32))


@pytest.fixture(scope="session")
def layers(model):
    return pipeline.layers()(frontend.load(model))


@pytest.fixture(scope="session")
def kernels(layers, target):
    found = kernels_of(layers, target)
    assert all(isinstance(kernel.function, tirx.PrimFunc) for kernel in found)
    return found
