"""What cannot be compiled or is damaged is refused when it is loaded, by name: constants, shapes, inputs."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.frontend import load

NAN, INF = float("nan"), float("inf")
TO_FLOAT = helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT)
FOUR = np.float32([1, NAN, 2, 3])


def mul(constant):
    """y = x * w, where the node `constant` makes w."""
    return [constant, helper.make_node("Mul", ["x", "w"], ["y"], name="mul")]


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        (
            mul(helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(FOUR))),
            {},
            r"value of w \(1 of 4, read by mul\)",
        ),
        (mul(helper.make_node("Constant", [], ["w"], value_float=NAN)), {}, r"value_float of w \(1 of 1"),
        (mul(helper.make_node("Constant", [], ["w"], value_floats=list(FOUR))), {}, r"value_floats of w \(1 of 4"),
        (mul(helper.make_node("Constant", [], ["w"], value_float=INF)), {}, r"weights .*\(1 of 1, read by mul\)"),
        ([helper.make_node("Elu", ["x"], ["y"], alpha=NAN, name="e")], {}, r"alpha of e \(1 of 1\)"),
        ([helper.make_node("LeakyRelu", ["x"], ["y"], alpha=INF, name="l")], {}, r"alpha of l \(1 of 1\)"),
        (mul(helper.make_node("Div", ["o", "z"], ["w"])), {"o": [1], "z": [0]}, r"weights w \(1 of 1, read by mul\)"),
        (mul(helper.make_node("Sqrt", ["o"], ["w"])), {"o": [-1, 1, 1, 1]}, r"weights w \(1 of 4, read by mul\)"),
    ],
)
def test_constants_that_are_no_numbers_are_found_wherever_they_are(model, nodes, constants, message):
    network = model(nodes, {"x": [1, 4]}, {name: np.float32(values) for name, values in constants.items()})
    with pytest.raises(ModelError, match=message):
        load(network)


def test_a_negative_variance_is_named(model):
    node = helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], name="bn")
    parts = {name: np.ones(3, np.float32) for name in "sbm"} | {"v": np.float32([1, -1, 1])}
    with pytest.raises(ModelError, match=r"weights v \(1 of 3, read by bn\)"):
        load(model([node], {"x": [1, 3, 2, 2]}, parts))


def test_a_scale_of_zero_is_named(model):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="codes"),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r"the scale of codes is 0; quantise again"):
        load(model(nodes, {"x": [1, 4]}, {"s": np.float32(0)}))


def test_constants_of_four_bits_are_named(model):
    network = model([helper.make_node("DequantizeLinear", ["w", "s"], ["d"]), *mul(None)[1:]], {"x": [1, 4]}, {})
    network.graph.node[1].input[1] = "d"
    network.graph.initializer.extend(
        [helper.make_tensor("w", TensorProto.INT4, [4], [1, -2, 3, 7]), numpy_helper.from_array(np.float32(1), "s")]
    )
    network.opset_import[0].version = 21
    with pytest.raises(ModelError, match=r"4-bit constants w; quantise the network to int8"):
        load(network)


def test_an_infinite_mask_may_be_moved_about_before_it_is_added(model, run):
    nodes = [
        helper.make_node("Unsqueeze", ["mask", "axis"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"]),
    ]
    constants = {"mask": np.float32([0, -INF, 0, 0]), "axis": np.array([0])}
    (got,) = run(load(model(nodes, {"x": [1, 4]}, constants)), np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(got, [[1 / 3, 0, 1 / 3, 1 / 3]], rtol=1e-6)


@pytest.mark.parametrize("damage", ["short", "odd", "huge", "type"])
def test_a_weight_whose_values_do_not_fill_its_shape(small, damage):
    network = small()
    weight = network.graph.initializer[0]
    if damage == "huge":
        weight.dims[0] = 10**15
    elif damage == "type":
        weight.data_type = 77
    else:
        weight.raw_data = weight.raw_data[: 48 if damage == "short" else 50]
    with pytest.raises(ModelError, match=r"the weight 'w0' is damaged: .* shape \d+x3x3x3 .*; copy the file again"):
        load(network)


@pytest.mark.parametrize(
    ("node", "inputs", "constants"),
    [
        (
            helper.make_node("NonMaxSuppression", ["b", "s", "k"], ["p"], name="pick"),
            {"b": [1, 6, 4], "s": [1, 1, 6]},
            {"k": np.array(6)},
        ),
        (helper.make_node("NonZero", ["x"], ["p"], name="pick"), {"x": [1, 4]}, {}),
        (helper.make_node("Unique", ["x"], ["p"], name="pick"), {"x": [4]}, {}),
    ],
)
def test_shapes_that_depend_on_the_data_are_refused_by_node(model, node, inputs, constants):
    with pytest.raises(ModelError, match=f"depends on the data.*\n  {node.op_type}  pick\nexport the network without"):
        load(model([node, TO_FLOAT], inputs, constants))


def test_a_range_up_to_a_computed_number_is_refused(model):
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["n"], to=TensorProto.INT64),
        helper.make_node("Range", ["o", "n", "l"], ["p"], name="count"),
        TO_FLOAT,
    ]
    with pytest.raises(
        ModelError, match=r"'count_arange' \(relax.arange\) .* every axis must be a number: .* the data"
    ):
        load(model(nodes, {"x": [1, 4]}, {"o": np.array(0), "l": np.array(1)}))


def test_a_module_whose_layer_fills_a_tensor_in_part_is_refused():
    boxes = relax.Var("boxes", relax.TensorType((1, 6, 4), "float32"))
    scores = relax.Var("scores", relax.TensorType((1, 1, 6), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [boxes, scores]):
        with builder.dataflow():
            call = relax.op.vision.all_class_non_max_suppression(
                boxes, scores, relax.const(6, "int64"), relax.const(0.5), relax.const(0.0)
            )
            found = builder.emit(call, "found")
            out = builder.emit_output(relax.TupleGetItem(found, 0))
        builder.emit_func_output(out)
    with pytest.raises(ModelError, match=r"how much of 'found' .* depends on the data"):
        load(builder.get())


def test_a_network_without_inputs_is_refused(model):
    node = helper.make_node("Relu", ["w"], ["y"])
    with pytest.raises(ModelError, match="the network has no inputs"):
        load(model([node], {}, {"w": np.ones(4, np.float32)}))
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        with builder.dataflow():
            out = builder.emit_output(relax.op.nn.relu(relax.const(np.ones(4, np.float32))))
        builder.emit_func_output(out)
    with pytest.raises(ModelError, match="'main' has no parameters"):
        load(builder.get())


def test_outputs_that_are_all_constants_are_refused(model):
    node = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(3, np.float32)))
    with pytest.raises(ModelError, match="'main' computes nothing"):
        load(model([node], {"x": [1, 4]}))


@pytest.mark.parametrize("size", [1, 2])
def test_an_input_smaller_than_the_kernel_is_refused(model, size):
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="stem")
    network = model([node], {"x": [1, 3, "h", "w"]}, {"w": np.ones((4, 3, 3, 3), np.float32)})
    with pytest.raises(ModelError, match=rf"'stem' .*shape 1x4x{size - 2}x{size - 2}, so no elements.*larger input"):
        load(network, shapes={"x": (1, 3, size, size)})


def test_an_axis_beyond_32_bits_is_refused(small):
    with pytest.raises(ModelError, match="axis 3 of input 'x' is 99999999999999999999; an axis is a whole number"):
        load(small([1, 3, "h", "w"]), shapes={"x": (1, 3, 8, 99999999999999999999)})


def test_a_module_that_is_not_well_formed_is_refused():
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    stray = relax.Var("stray", relax.TensorType((4,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.add(x, stray))
        builder.emit_func_output(out)
    with pytest.raises(ModelError, match=r"the module is not well formed: .*import the network again"):
        load(builder.get())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "this is a folder, not a model file; give .*network.onnx/inner.onnx"),
        (os.mkfifo, "this is a pipe, a socket or a device"),
        (lambda path: path.symlink_to("gone.onnx"), "it is a link to gone.onnx, which is not there"),
    ],
)
def test_a_path_that_is_no_file_says_what_it_is(tmp_path, make, message):
    path = tmp_path / "network.onnx"
    make(path)
    if path.is_dir():
        (path / "inner.onnx").touch()
    with pytest.raises(ModelError, match=message):
        load(path)


def test_a_refused_import_leaves_no_line_of_tvm_on_stderr(model, tmp_path):
    path = tmp_path / "odd.onnx"
    constants = {"w0": np.ones((4, 5, 3, 3), np.float32)}
    onnx.save(model([helper.make_node("Conv", ["x", "w0"], ["y"], name="c")], {"x": [1, 3, 8, 8]}, constants), path)
    code = (
        "import sys\nimport tvm_split as t\ntry:\n  t.load(sys.argv[1])\nexcept t.errors.ModelError as e:\n  print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "cannot import node c (Conv)" in done.stdout
    assert "BlockBuilder" not in done.stderr
