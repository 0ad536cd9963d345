"""A network output that is a network input: legal ONNX, and it has to come out of a split too."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tvm_split import extract, pipeline
from tvm_split.frontend import load
from tvm_split.layer_runner import LayerRunner

SHAPE = (1, 3, 4, 4)


def layered(nodes, outputs):
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", *outputs)}
    every = [helper.make_node("Relu", ["x"], ["y"]), *(helper.make_node(*node) for node in nodes)]
    graph = helper.make_graph(every, "g", [values["x"]], [values[name] for name in outputs])
    return pipeline.layers()(load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)))


@pytest.mark.parametrize("result_at", ["edge", "cloud"])
@pytest.mark.parametrize(("nodes", "outputs"), [([], ["y", "x"]), ([("Identity", ["x"], ["z"])], ["z", "y"])])
@pytest.mark.parametrize("on_edge", [False, True])
def test_an_input_passed_through_works(nodes, outputs, on_edge, result_at, run_halves):
    mod = layered(nodes, outputs)
    graph = extract.graph(mod)
    assert extract.output_names(mod) == tuple(outputs) and "x" in graph.outputs
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    want = {"x": x, "y": np.maximum(x, 0)}
    assert all(np.array_equal(array, want[n]) for n, array in LayerRunner(mod).run({"x": x}, graph.outputs).items())
    edge = [layer.name for layer in graph.layers] if on_edge else []
    found = run_halves(pipeline.at_cut(edge, {}, result_at)(mod), x)
    for name, array in zip(graph.outputs, found, strict=True):
        assert np.array_equal(array, want[name])
