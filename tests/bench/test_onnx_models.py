"""The file that onnxruntime gets: shapes fixed as in our import, and quantised per channel."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_split.bench.onnx_models import quantized, with_fixed_shapes
from tvm_split.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def check_quantised(nodes: list[onnx.NodeProto], ends: dict[str, tuple[int, ...]], folder: Path) -> None:
    """The quantised network computes about what the float one does, from x to y; w are ones, b is 0.5."""
    w, b = (
        numpy_helper.from_array(np.full(ends[name], value, np.float32), name) for name, value in (("w", 1), ("b", 0.5))
    )
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ends[name]) for name in "xy")
    graph = helper.make_graph(nodes, "network", [x], [y], [w, b])
    path = folder.parent / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    sample = np.random.default_rng(0).random(ends["x"], np.float32)
    models = (path, quantized(path, [[sample]], folder))
    want, got = (onnxruntime.InferenceSession(str(model)).run(None, {"x": sample})[0] for model in models)
    np.testing.assert_allclose(got, want, atol=0.15)


def test_a_bias_that_two_nodes_share_does_not_take_another_tensor_s_name(folder: Path) -> None:
    """The quantiser itself would call the second bias "b" + "0", as the first convolution's result is called."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["b0"], "first"),
        helper.make_node("Conv", ["b0", "w", "b"], ["c"], "second"),
        helper.make_node("Concat", ["b0", "c"], ["y"], "both", axis=1),
    ]
    check_quantised(nodes, {"x": (1, 4, 4, 4), "y": (1, 8, 4, 4), "w": (4, 4, 1, 1), "b": (4,)}, folder)


def test_a_bias_that_is_a_row_is_quantised_as_a_vector(folder: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "dense")]
    check_quantised(nodes, {"x": (1, 4), "y": (1, 3), "w": (4, 3), "b": (1, 3)}, folder)


def test_open_shapes_are_fixed_in_a_copy(two_layers: Path, folder: Path) -> None:
    before = two_layers.read_bytes()
    made = with_fixed_shapes(two_layers, {"x": (2, 3, 8, 8)}, folder)
    assert made.parent == folder and two_layers.read_bytes() == before
    session = onnxruntime.InferenceSession(str(made))
    assert session.get_inputs()[0].shape == [2, 3, 8, 8]
    x = np.random.default_rng(1).random((2, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(
        session.run(None, {"x": x})[0], onnxruntime.InferenceSession(str(two_layers)).run(None, {"x": x})[0]
    )


def test_a_model_with_fixed_shapes_is_run_as_it_is(two_layers: Path, folder: Path) -> None:
    made = with_fixed_shapes(two_layers, {}, folder)
    assert with_fixed_shapes(made, {}, folder) == made


def test_quantised_per_channel_and_close_to_the_float_network(two_layers: Path, folder: Path) -> None:
    fixed = with_fixed_shapes(two_layers, {}, folder)
    samples = [np.random.default_rng(seed).random((1, 3, 8, 8), np.float32) for seed in range(4)]
    made = quantized(fixed, [[sample] for sample in samples], folder)
    graph = onnx.load(made).graph
    kinds = [node.op_type for node in graph.node]
    assert "QuantizeLinear" in kinds and "DequantizeLinear" in kinds
    scales = [numpy_helper.to_array(w) for w in graph.initializer if w.name.startswith("w_") and "scale" in w.name]
    assert [scale.shape for scale in scales] == [(4,)]  # one for each output channel
    (ours,), (exact,) = (onnxruntime.InferenceSession(str(p)).run(None, {"x": samples[0]}) for p in (made, fixed))
    assert 0 < np.abs(ours - exact).max() < 0.1 * np.abs(exact).max()


def test_a_network_that_the_quantiser_refuses_is_a_model_error(two_layers: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match="quantiser refuses the network"):
        quantized(two_layers, [[np.zeros((1, 3, 9, 9), np.float32)]], folder)
