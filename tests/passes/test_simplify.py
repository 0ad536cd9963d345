"""Simplify: Before and Expected, what ONNX models arrive as, and real networks from the onnx package."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split.passes.fold_batch_norm import FoldBatchNorm
from tvm_split.passes.simplify import Simplify

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
CLUMSY = {"broadcast_to", "stack", "sum", "call_tir", "dropout", "split", "pad"}
W = np.ones((3, 2, 3, 3), "float32")


@I.ir_module
class Before:
    @R.function
    def main(x: R.Tensor((1, 2, 6, 6), "float32")) -> R.Tensor((1, 3, 6, 6), "float32"):
        with R.dataflow():
            dropped = R.nn.dropout(x, rate=0.5)
            d = dropped[0]
            padded = R.nn.pad(d, (0, 0, 0, 0, 1, 1, 1, 1))
            same = R.reshape(padded, (1, 2, 8, 8))
            c = R.nn.conv2d(same, R.const(W))
            bias = R.reshape(R.const(np.array([1, 2, 3], "float32")), (1, 3, 1, 1))
            b = R.add(c, bias)
            left = R.broadcast_to(b, (1, 3, 6, 6))
            right = R.broadcast_to(R.multiply(b, R.const(1.0, "float32")), (1, 3, 6, 6))
            pile = R.stack((left, right), axis=0)
            total = R.sum(pile, axis=[0])
            low = R.maximum(total, R.const(0.0, "float32"))
            y = R.minimum(low, R.const(6.0, "float32"))
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(x: R.Tensor((1, 2, 6, 6), "float32")) -> R.Tensor((1, 3, 6, 6), "float32"):
        with R.dataflow():
            c = R.nn.conv2d(x, R.const(W), padding=(1, 1, 1, 1))
            b = R.add(c, R.const(np.array([1, 2, 3], "float32").reshape(1, 3, 1, 1)))
            total = R.add(b, b)
            y = R.clip(total, R.prim_value(0), R.prim_value(6))
            R.output(y)
        return y


def imported(nodes, arrays, shape, opset=13):
    """The imported model, and the same for onnxruntime."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    initialisers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph([helper.make_node(*n[:3], **n[3]) for n in nodes], "g", ends[:1], ends[1:], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return from_onnx(model, opset=opset, keep_params_in_input=False), model


def reference(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_all_together(apply):
    result = apply(Simplify(), Before)
    tvm.ir.assert_structural_equal(result, Expected)
    assert [b.var.name for b in result["main"].body.blocks[0].bindings] == ["c", "b", "total", "y"]


def test_nothing_to_do(apply, caplog):
    caplog.set_level("INFO", "tvm_split.passes")
    assert apply(Simplify(), Expected).same_as(Expected)
    assert "Simplify: nothing to do" in caplog.text


PADS = np.array([0, 0, 1, 0, 0, 0, 2, 1])


@pytest.mark.parametrize(
    ("nodes", "arrays", "opset", "expected"),
    [
        (
            [("Pad", ["x", "p"], ["a"], {}), ("Dropout", ["a"], ["b"], {}), ("Conv", ["b", "w"], ["c"], {}),
             ("Mul", ["c", "one"], ["d"], {}), ("Identity", ["d"], ["y"], {})],
            {"p": PADS, "w": W, "one": np.float32(1)}, 13, {"conv2d": 1},
        ),
        (
            [("Conv", ["x", "w"], ["a"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
             ("Clip", ["a", "low", "high"], ["y"], {})],
            {"w": W, "low": np.float32(0), "high": np.float32(6)}, 13, {"conv2d": 1, "clip": 1},
        ),
        (
            [("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1]}), ("Clip", ["a"], ["b"], {"min": 0.0, "max": 6.0}),
             ("Sum", ["a", "b", "a"], ["y"], {})],
            {"w": W}, 9, {"conv2d": 1, "clip": 1, "add": 2},
        ),
        (
            [("Pad", ["x", "p"], ["a"], {}), ("AveragePool", ["a"], ["b"], {"kernel_shape": [3, 3]}),
             ("Flatten", ["b"], ["c"], {}), ("Reshape", ["c", "s"], ["y"], {})],
            {"p": PADS, "s": np.array([1, 2, -1])}, 13, {"avg_pool2d": 1, "reshape": 1},
        ),
        (
            [("Relu", ["x"], ["a"], {}), ("Pad", ["a", "p"], ["b"], {}),
             ("MaxPool", ["b"], ["y"], {"kernel_shape": [3, 3], "strides": [2, 2]})],
            {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, 13, {"relu": 1, "max_pool2d": 1},
        ),
        (
            [("Expand", ["x", "s"], ["a"], {}), ("Cast", ["a"], ["b"], {"to": 1}), ("Mean", ["a", "b"], ["y"], {})],
            {"s": np.array([1, 1, 6, 6])}, 13, {"add": 1, "divide": 1},
        ),
    ],
)  # fmt: skip
def test_imported(apply, run, operators, nodes, arrays, opset, expected):
    mod, model = imported(nodes, arrays, (1, 2, 6, 6), opset)
    result = apply(Simplify(), mod)
    assert Counter(operators(result)) == Counter(expected)
    x = np.random.default_rng(0).uniform(-3, 3, (1, 2, 6, 6)).astype("float32")
    new = run(result, x)
    np.testing.assert_array_equal(run(mod, x), new)
    np.testing.assert_allclose(new, reference(model, x), rtol=1e-5, atol=1e-5)


def light(name):
    """A network of the onnx package with seeded random weights instead of the constants it ships."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    shapes = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    random = np.random.default_rng(0)
    for node in [n for n in model.graph.node if n.op_type == "ConstantOfShape"]:
        shape, output = shapes[node.input[0]], node.output[0]
        array = random.standard_normal(shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))
        if len(shape) == 1:  # biases, and what batch norm has: its variance must not be negative
            array = random.uniform(0.5, 1.5, shape) if "_riv" in output or "_s_" in output else array * 0.1
        model.graph.initializer.append(numpy_helper.from_array(array.astype("float32"), output))
        model.graph.node.remove(node)
    return model


@pytest.mark.parametrize("name", ["bvlc_alexnet", "inception_v1", "resnet50", "shufflenet", "squeezenet"])
def test_real_networks_lose_what_is_clumsy(apply, operators, name):
    mod = from_onnx(light(name), keep_params_in_input=False)
    found, left = Counter(operators(mod)), Counter(operators(apply(Simplify(), mod)))
    assert not CLUMSY & set(left)
    assert left["conv2d"] == found["conv2d"] and left["add"] == found["add"] + found["stack"]


def test_resnet50_as_a_whole(run, operators):
    """Against onnxruntime. Logits, not the softmax of them, which would hide a difference."""
    model = light("resnet50")
    last = model.graph.node[-1]
    assert last.op_type == "Softmax"
    model.graph.output[0].name = last.input[0]
    model.graph.node.remove(last)
    mod = from_onnx(model, keep_params_in_input=False)
    before = Counter(operators(mod))
    assert (before["batch_norm"], before["broadcast_to"], before["stack"]) == (53, 32, 16)
    result = tvm.transform.Sequential([Simplify(), FoldBatchNorm()])(mod)
    assert Counter(operators(result)) == Counter(
        {"conv2d": 53, "add": 53 + 16 + 1, "relu": 49, "max_pool2d": 1, "avg_pool2d": 1, "reshape": 1, "matmul": 1}
    )
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype("float32")
    expected = reference(model, x)
    assert np.isfinite(expected).all()
    assert np.abs(run(result, x) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_symbolic_batch_and_no_dataflow_block(apply, operators):
    batch = tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType((batch, 2, 6, 6), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        pad = builder.emit(relax.op.nn.pad(x, (0, 0, 0, 0, 1, 1, 1, 1)))
        conv = builder.emit(relax.op.nn.conv2d(pad, relax.const(W)))
        ones = relax.const(np.ones(3, "float32"))
        norm = builder.emit(relax.op.nn.batch_norm(conv, ones, ones, ones, ones, axis=1, training=False))
        scaled = builder.emit(relax.op.multiply(builder.emit(relax.TupleGetItem(norm, 0)), relax.const(1.0, "float32")))
        total = builder.emit(relax.op.sum(builder.emit(relax.op.stack([scaled, scaled], axis=0)), axis=0))
        builder.emit_func_output(builder.emit(relax.op.maximum(total, relax.const(0.0, "float32"))))
    mod = relax.transform.ConvertToDataflow(1)(builder.get())
    result = apply(tvm.transform.Sequential([Simplify(), FoldBatchNorm()]), mod)
    assert Counter(operators(result)) == Counter({"conv2d": 1, "add": 2, "relu": 1})
    relax.analysis.well_formed(FoldBatchNorm()(Simplify()(builder.get())))
