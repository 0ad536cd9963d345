"""What a model calls its outputs, and the outputs that are constants, inputs, or one tensor twice."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tvm_split import extract, pipeline
from tvm_split.errors import ModelError
from tvm_split.frontend import load
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.passes.annotate_cuts import AnnotateCuts
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.layering import OUTPUT_NAMES
from tvm_split.passes.pack_cut import PackCut
from tvm_split.passes.preprocess import Preprocess
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.quantizer import Quantizer

SHAPE = (1, 3, 4, 4)


def layered(nodes, outputs, constants=None):
    """The module of layers of an ONNX model that reads x."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    weights = [numpy_helper.from_array(np.float32(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "g", [x], values, weights)
    return pipeline.layers()(load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)))


TWO = ([("Relu", ["x"], ["hidden"]), ("Sigmoid", ["hidden"], ["logits:0"])], ["logits:0", "hidden"])


def test_onnx_outputs_keep_their_names():
    mod = layered(*TWO)
    assert extract.output_names(mod) == ("logits:0", "hidden")
    assert extract.graph(mod).outputs == tuple(layer.name for layer in extract.graph(mod).layers)[::-1]


def test_they_survive_every_pass():
    mod = layered(*TWO)
    mod = Preprocess(PreprocessSpec((0, 0, 0), (1, 1, 1)))(mod)
    mod = pipeline.layers()(mod)
    edge = extract.graph(mod).closure(["hidden"])
    steps = [AnnotateCuts(), AssignCut(edge), QuantizeCut({"hidden": Quantizer.of_range(8, 0, 1)}), PackCut()]
    for step in steps:
        mod = step(mod)
        assert extract.output_names(mod)[0] == "logits:0"
        assert len(extract.output_names(mod)) == len(extract.graph(mod).outputs) == 2


def test_a_module_has_the_names_of_its_tensors():
    mod = layered(*TWO)
    mod["main"] = mod["main"].without_attr(OUTPUT_NAMES)
    assert extract.output_names(mod) == extract.graph(mod).outputs


@pytest.mark.parametrize("given", [["one"], ["one", "one"]])
def test_names_that_do_not_fit_do_no_harm(given):
    mod = layered(*TWO)
    mod["main"] = mod["main"].with_attr(OUTPUT_NAMES, given)
    wanted = ("one", "one_2") if len(given) == 2 else extract.graph(mod).outputs
    assert extract.output_names(mod) == wanted


def test_two_names_of_one_tensor():
    mod = layered([("Relu", ["x"], ["a"]), ("Identity", ["a"], ["b"])], ["a", "b"])
    assert extract.output_names(mod) == ("a", "b")
    first, second = extract.graph(mod).outputs
    assert first == second


def test_the_plate_detector():
    mod = pipeline.layers()(load("zoo:plate-detector"))
    assert extract.output_names(mod) == ("loc", "conf", "landms")
    assert len(extract.graph(mod).outputs) == 3


def test_tflite_outputs_keep_their_names():
    pytest.importorskip("tflite")
    assert extract.output_names(pipeline.layers()(load("zoo:wakeword-embedding"))) == ("StatefulPartitionedCall:0",)


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([("Relu", ["x"], ["y"])], ["y", "k"]),
        ([("Relu", ["x"], ["y"]), ("Identity", ["k0"], ["k"])], ["y", "k"]),
        ([("Relu", ["x"], ["y"]), ("Add", ["k0", "k0"], ["k"])], ["k", "y"]),
        ([("Relu", ["x"], ["y"]), ("Add", ["k0", "k0"], ["k"])], ["k"]),
    ],
)
def test_an_output_that_is_a_constant_is_refused_by_name(nodes, outputs):
    with pytest.raises(ModelError, match=r"output 'k' .*constant.*take it out of the model's outputs|computes nothing"):
        extract.graph(layered(nodes, outputs, {"k0": [1, 2], "k": [3, 4]} if len(nodes) == 1 else {"k0": [1, 2]}))


@pytest.mark.parametrize(
    "names, expected",
    [(("a:0", "a_0"), ("a_0_1", "a_0")), (("a_0", "a:0"), ("a_0", "a_0_1")), (("a-b", "a.b"), ("a_b", "a_b_1")),
     (("a:0", "a_0", "a_0_1"), ("a_0_2", "a_0", "a_0_1")), (("a", "b"), ("a", "b"))],
)  # fmt: skip
def test_an_input_whose_name_is_an_identifier_keeps_it(names, expected):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in names]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Sum", names, ["y"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = extract.graph(pipeline.layers()(load(model)))
    assert found.inputs == expected and found.file_names == (names if names != expected else ())
    assert type(found).from_json(found.to_json()) == found
