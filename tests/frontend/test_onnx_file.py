"""ONNX in, module out: the numbers, the names, the shapes, and every file that must be refused with its reason."""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from onnx import TensorProto, helper
from tvm import relax

from tvm_split.errors import ModelError
from tvm_split.frontend import load

X = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)


def names(mod):
    return [binding.var.name for block in mod["main"].body.blocks for binding in block.bindings]


@pytest.fixture
def one_node(model):
    """Makes a model of one operator, which reads the input 'x' and the constants."""

    def make(op, *, opset=17, constants=None, **attributes):
        node = helper.make_node(op, ["x", *(constants or {})], ["y"], name=f"my/{op}", **attributes)
        return model([node], {"x": X.shape}, constants, opset)

    return make


def test_same_numbers_as_onnxruntime(small, run):
    model = small()
    want = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X})
    np.testing.assert_allclose(run(load(model), X)[0], want[0], rtol=1e-4, atol=1e-4)


def test_contract_weights_are_constants_and_the_given_model_is_untouched(small):
    model = small()
    before = model.SerializeToString(deterministic=True)
    mod = load(model)
    assert model.SerializeToString(deterministic=True) == before
    assert [parameter.name for parameter in mod["main"].params] == ["x"]
    assert int(mod["main"].attrs["num_input"]) == 1
    assert all(isinstance(block, relax.DataflowBlock) for block in mod["main"].body.blocks)
    relax.analysis.well_formed(mod)


def test_node_names_become_variable_names(small):
    assert names(load(small())) == ["stem_0_conv_conv2d", "stem_0_conv", "stem_1_relu", "body", "y"]


def test_batch_norm_stays_for_our_own_pass(one_node):
    parts = {name: np.ones(3, np.float32) for name in ("scale", "bias", "mean", "var")}
    mod = load(one_node("BatchNormalization", constants=parts))
    assert "relax.nn.batch_norm" in {
        str(b.value.op.name) for b in mod["main"].body.blocks[0].bindings if hasattr(b.value, "op")
    }
    assert names(mod)[-1] == "my_BatchNormalization"


def test_file_with_external_data(small, run, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small(), path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    np.testing.assert_array_equal(run(load(path), X)[0], run(load(small()), X)[0])
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match="external data cannot be read"):
        load(path)


def test_constant_shape_arithmetic_is_folded(model):
    shape = helper.make_node("Shape", ["x"], ["s"])
    picked = helper.make_node("Gather", ["s", "zero"], ["n"])
    joined = helper.make_node("Concat", ["n", "rest"], ["t"], axis=0)
    reshaped = helper.make_node("Reshape", ["x", "t"], ["y"], name="flat")
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    mod = load(model([shape, picked, joined, reshaped], {"x": ["n", 3, 8, 8]}, constants))
    assert tuple(int(axis) for axis in mod["main"].ret_ty.shape.values) == (1, 192)


@pytest.mark.parametrize(("declared", "given"), [(["n", 3, 8, 8], {}), (["n", 3, "h", "w"], {"x": (1, 3, 8, 8)})])
def test_open_axes_take_the_given_shape(small, run, declared, given):
    assert run(load(small(declared), shapes=given), X)[0].shape == (1, 4, 8, 8)


@pytest.mark.parametrize("declared", [0, -1])
def test_a_first_axis_below_1_is_taken_to_be_open_and_that_is_said(small, run, declared):
    with pytest.warns(UserWarning, match=rf"input 'x' declares its first axis as {declared}; .* --shape x=1x3x8x8"):
        mod = load(small([declared, 3, 8, 8]))
    assert run(mod, X)[0].shape == (1, 4, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int(load(small([declared, 3, 8, 8]), shapes={"x": (2, 3, 8, 8)})["main"].params[0].ty.shape[0]) == 2
        load(small(["n", 3, 8, 8]))


def test_open_axes_are_asked_for_with_the_option_to_give(small):
    with pytest.raises(
        ModelError, match=r"how large is input 'x'\? The model leaves axis 0 \('n'\), axis 2 \('h'\), axis 3"
    ) as e:
        load(small(["n", 3, "h", "?"]))
    assert "how large is input 'x'?" in str(e.value)
    assert "--shape x=1x3x?x?" in str(e.value)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1, 3, 8, 8)}, "there is no input 'z'.*the inputs are x=1x3x8x8"),
        ({"x": (1, 3, 8)}, "input 'x' has 4 axes .*has 3"),
        ({"x": (1, 3, 9, 8)}, "axis 2 of input 'x' cannot be 9: the model fixes it; give 8"),
        ({"x": (1, 3, 0, 8)}, "axis 2 of input 'x' is 0"),
    ],
)
def test_a_wrong_shape_is_refused(small, shapes, message):
    with pytest.raises(ModelError, match=message):
        load(small(), shapes=shapes)


def test_one_symbol_has_one_value(small):
    with pytest.raises(ModelError, match="another input has 8 for the same 's'; give 8"):
        load(small(["n", 3, "s", "s"]), shapes={"x": (1, 3, 8, 9)})


def test_an_old_opset_is_raised(one_node, run):
    mod = load(one_node("Clip", opset=6, min=-0.5, max=0.5))
    np.testing.assert_array_equal(run(mod, X)[0], X.clip(-0.5, 0.5))


def test_every_unsupported_node_is_listed_with_those_in_branches():
    branch = helper.make_graph(
        [helper.make_node("NoSuch", ["x"], ["b"], name="inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["l"], name="reader", hidden_size=4),
        helper.make_node("If", ["c"], ["i"], name="choice", then_branch=branch, else_branch=branch),
        helper.make_node("Conv", ["x", "w"], ["o"], name="foreign", domain="acme"),
    ]
    graph = helper.make_graph(nodes, "bad", [], [helper.make_tensor_value_info("l", TensorProto.FLOAT, None)])
    with pytest.raises(ModelError, match=r"4 node\(s\) cannot be compiled") as error:
        load(helper.make_model(graph))
    for line in ("LSTM  reader", "NoSuch  choice/then_branch/inner", "choice/else_branch/inner", "acme::Conv  foreign"):
        assert line in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(small, value):
    weight = np.zeros((4, 3, 3, 3), np.float32)
    weight[0, 0, 0, :2] = value
    with pytest.raises(ModelError, match=r"weights w0 \(2 of 108, read by .*\)"):
        load(small(weight=weight))


def test_an_infinite_bound_is_no_damaged_weight(one_node, run):
    mod = load(one_node("Min", constants={"bound": np.array([np.inf, 0, 0, 0, 0, 0, 0, 0], np.float32)}))
    np.testing.assert_array_equal(run(mod, X)[0][..., 0], X[..., 0])


def test_what_is_not_a_model_is_refused(small, tmp_path):
    whole = small().SerializeToString()
    for name, content in [("text", b"this is no model\n" * 9), ("cut", whole[: len(whole) // 2]), ("empty", b"")]:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"{name}.onnx: "):
            load(path)


def test_a_contradicting_model_is_refused_with_its_name(small, tmp_path):
    path = tmp_path / "odd.onnx"
    onnx.save(small(weight=np.zeros((4, 5, 3, 3), np.float32)), path)
    with pytest.raises(ModelError, match=r"odd\.onnx: .*channel"):
        load(path)


def test_a_branch_on_data_is_refused():
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [f"b{op}"])],
            op,
            [],
            [helper.make_tensor_value_info(f"b{op}", TensorProto.FLOAT, None)],
        )
        for op in ("Relu", "Neg")
    ]
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branches[0], else_branch=branches[1])],
        "if",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    with pytest.raises(ModelError, match="the branches choice depend on the data"):
        load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_a_node_that_the_importer_stops_at_is_named(monkeypatch, small):
    def refuse(*_):
        raise NotImplementedError("not today")

    monkeypatch.setattr(tvm.relax.frontend.onnx.onnx_frontend.Relu, "_impl_v13", refuse)
    with pytest.raises(ModelError, match=r"node /stem/1.relu \(Relu\): not today"):
        load(small())
