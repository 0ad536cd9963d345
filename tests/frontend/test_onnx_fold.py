"""Before the import: node names made unique, Dropout masks made constants, float16 kept."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_split import extract, pipeline
from tvm_split.errors import ModelError
from tvm_split.frontend import load, onnx_file
from tvm_split.frontend.onnx_fold import name_nodes
from tvm_split.frontend.onnx_fold_float16 import fold_by_node, has_float16

node = helper.make_node
X = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float16)


def types(mod):
    variables = [binding.var for block in mod["main"].body.blocks for binding in block.bindings]
    return {str(variable.ty.dtype) for variable in variables if hasattr(variable.ty, "dtype")}


def half(nodes, constants, inputs=None, outputs=None):
    """A model of the float16 input 'x' whose output is 'y'."""
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 3, 8, 8])] if inputs is None else inputs
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    outputs = outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)]
    graph = helper.make_graph(nodes, "half", values, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def flattened():
    """conv, relu, a reshape to a computed shape, gemm and a Constant node, all float16."""
    random = np.random.default_rng(0)
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "rest"], ["t"], axis=0),
        node("Conv", ["x", "w"], ["c"], name="stem", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Identity", ["r"], ["i"]),
        node("Reshape", ["i", "t"], ["f"], name="flat"),
        node("Gemm", ["f", "v"], ["g"], name="head"),
        node("Constant", [], ["k"], value=numpy_helper.from_array(np.float16([0.5]))),
        node("Mul", ["g", "k"], ["y"]),
    ]
    constants = {
        "zero": np.array([0]),
        "rest": np.array([-1]),
        "w": (random.standard_normal((4, 3, 3, 3)) / 4).astype(np.float16),
        "v": (random.standard_normal((256, 5)) / 16).astype(np.float16),
    }
    return half(nodes, constants)


def test_a_float16_network_stays_one(flattened, run):
    mod = load(flattened)
    assert types(mod) == {"float16"}
    want = onnxruntime.InferenceSession(flattened.SerializeToString()).run(None, {"x": X})[0]
    (got,) = run(mod, X)
    assert got.dtype == want.dtype == np.float16
    # Each of the three layers may round otherwise than onnxruntime, which sums in float32.
    np.testing.assert_allclose(got.astype(np.float32), want.astype(np.float32), atol=3 * 2**-9 * np.abs(want).max())


def test_folding_by_node_leaves_the_layers_and_the_given_model(flattened):
    before = flattened.SerializeToString(deterministic=True)
    flattened.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    folded = fold_by_node(flattened)
    assert [n.op_type for n in folded.graph.node] == ["Conv", "Relu", "Identity", "Reshape", "Gemm", "Mul"]
    constants = {weight.name: numpy_helper.to_array(weight) for weight in folded.graph.initializer}
    assert sorted(constants) == ["k", "t", "v", "w"]
    assert constants["t"].tolist() == [1, -1]
    flattened.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert flattened.SerializeToString(deterministic=True) == before


def test_a_float16_part_keeps_its_casts(run):
    """onnxruntime drops the rounding of x to float16."""
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("Mul", ["h", "k"], ["m"]),
        node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    mod = load(half(nodes, {"k": np.float16([1])}, inputs, outputs))
    (got,) = run(mod, np.float32([1.0001]))
    assert got.tolist() == [1.0]


def test_a_clip_of_an_old_opset_stays_float16(run):
    network = half([node("Clip", ["x"], ["y"], min=-0.5, max=0.5)], {})
    network.opset_import[0].version = 9
    mod = load(network)
    assert types(mod) == {"float16"}
    np.testing.assert_array_equal(run(mod, X)[0], X.clip(-0.5, 0.5))


def test_a_resize_with_empty_scales_imports_in_float16(run):
    nodes = [node("Resize", ["x", "", "none", "sizes"], ["y"], mode="nearest")]
    constants = {"none": np.zeros(0, np.float32), "sizes": np.array([1, 3, 16, 16])}
    (got,) = run(load(half(nodes, constants)), X)
    assert got.dtype == np.float16
    assert got.shape == (1, 3, 16, 16)


def test_weights_that_are_only_stored_in_float16_become_what_they_are_cast_to():
    nodes = [node("Cast", ["k"], ["w"], to=TensorProto.FLOAT), node("Mul", ["x", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    mod = load(half(nodes, {"k": np.float16([1, 2, 3, 4])}, inputs, outputs))
    assert types(mod) == {"float32"}
    assert len(mod["main"].body.blocks[0].bindings) == 1


def test_a_warning_says_where_float16_is_not_kept(flattened, monkeypatch, caplog):
    def refuse(_):
        raise ValueError("not today")

    monkeypatch.setattr(onnx_file, "fold_by_node", refuse)
    load(flattened)
    assert "its float16 layers are computed in float32, since float16 was refused: not today" in caplog.text


def test_a_float16_network_that_contradicts_itself_is_refused(caplog):
    network = half([node("Conv", ["x", "w"], ["y"])], {"w": np.ones((4, 5, 3, 3), np.float16)})
    with pytest.raises(ModelError, match="channel"):
        load(network)
    assert not caplog.text


def test_float16_is_seen_in_inputs_weights_casts_and_constants(model):
    one = numpy_helper.from_array(np.float16([1]))
    assert not has_float16(model([node("Relu", ["x"], ["y"])], {"x": [1]}))
    assert has_float16(half([node("Relu", ["x"], ["y"])], {}))
    assert has_float16(model([node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)], {"x": [1]}))
    assert has_float16(model([node("Constant", [], ["y"], value=one)], {"x": [1]}))
    assert has_float16(model([node("Relu", ["x"], ["y"])], {"x": [1]}, {"w": np.float16([1])}))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([("b", "a"), ("", "b")], ["b", "b_1"]),
        ([("b", "a"), ("b", "c"), ("b_1", "d")], ["b", "b_2", "b_1"]),
        ([("", "a"), ("a", "b")], ["a_1", "a"]),
        ([("", "a"), ("", "b")], ["a", "b"]),
    ],
)
def test_every_node_has_a_name_of_its_own(given, wanted):
    nodes = [node("Relu", ["x"], [output], name=name) for name, output in given]
    graph = helper.make_graph(nodes, "g", [], [])
    name_nodes(graph)
    assert [n.name for n in graph.node] == wanted


def test_a_node_called_as_another_nodes_output_loads(model):
    nodes = [node("Relu", ["x"], ["a"], name="y"), node("Tanh", ["a"], ["y"])]
    mod = load(model(nodes, {"x": [1, 4]}))
    assert [binding.var.name for binding in mod["main"].body.blocks[0].bindings] == ["y", "y_1"]


def with_mask(nodes, name, kind):
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        helper.make_tensor_value_info(name, kind, None),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([node("Dropout", ["x"], ["d", "mask"], name="drop"), *nodes], "g", [x], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_mask_of_a_dropout_is_a_constant_of_bools(run):
    x = np.float32([[1, -2, 3, -4]])
    network = with_mask(
        [node("Where", ["mask", "d", "x"], ["w"]), node("Relu", ["w"], ["y"])], "mask", TensorProto.BOOL
    )
    mod = load(network)
    want = onnxruntime.InferenceSession(network.SerializeToString()).run(None, {"x": x})
    for got, wanted in zip(run(mod, x), want, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ModelError, match=r"output 'mask' .*constant.*take it out of the model's outputs"):
        extract.graph(pipeline.layers()(mod))


def test_what_reads_a_mask_reads_bools(run):
    to_float = node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT)
    nodes = [node("Relu", ["d"], ["y"]), to_float, node("Add", ["y", "m"], ["z"])]
    y, z = run(load(with_mask(nodes, "z", TensorProto.FLOAT)), np.float32([[1, -2, 3, -4]]))
    np.testing.assert_array_equal(z, y + 1)


def test_the_given_model_keeps_its_masks():
    network = with_mask([node("Relu", ["d"], ["y"])], "mask", TensorProto.BOOL)
    before = network.SerializeToString(deterministic=True)
    load(network)
    assert network.SerializeToString(deterministic=True) == before
