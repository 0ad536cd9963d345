"""The file that onnxruntime gets: shapes fixed as in our import, and quantised per channel."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tvm_split.bench.onnx_models import quantized, with_fixed_shapes
from tvm_split.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


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
