"""A network as a file: three convolutions with ReLU, which are three layers."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(folder: Path) -> Path:
    random = np.random.default_rng(0)
    nodes, weights = [], []
    for i, (ins, outs) in enumerate([(3, 8), (8, 8), (8, 16)]):
        weights.append(numpy_helper.from_array(random.standard_normal((outs, ins, 3, 3)).astype("float32"), f"w{i}"))
        nodes.append(helper.make_node("Conv", [f"y{i}", f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"y{i + 1}"]))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("y0", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y3", TensorProto.FLOAT, [1, 16, 16, 16])], weights,
    )  # fmt: skip
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path
