"""The graph of a module: operations and weights against counts by hand; tuples; what is no layer."""

import logging

import numpy as np
import pytest
import tvm
from onnx import TensorProto, helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_split import extract, pipeline
from tvm_split.errors import ModelError
from tvm_split.flops import ELEMENTWISE, MOVES, REDUCTIONS, SCANS, SORTS
from tvm_split.frontend import load
from tvm_split.passes.fuse_activation import FuseActivation


def layer_of(make, *shapes, weight=None, dtype="float32"):
    """The one layer of `main(x0, ...) = make(x0, ..., weight)`."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    constants = [] if weight is None else [relax.const(np.zeros(weight, dtype))]
    with builder.function("main", params):
        with builder.dataflow():
            out = builder.emit_output(make(*params, *constants))
        builder.emit_func_output(out)
    (layer,) = extract.graph(FuseActivation()(builder.get())).layers
    return layer


nn = relax.op.nn
COUNTS = {
    "conv2d": (lambda x, w: nn.conv2d(x, w, padding=1), (1, 3, 8, 8), (4, 3, 3, 3), 2 * 4 * 64 * 3 * 9),
    "strided": (lambda x, w: nn.conv2d(x, w, strides=2), (1, 3, 8, 8), (4, 3, 2, 2), 2 * 4 * 16 * 3 * 4),
    "batch": (lambda x, w: nn.conv2d(x, w), (5, 3, 8, 8), (4, 3, 1, 1), 2 * 5 * 4 * 64 * 3),
    "grouped": (lambda x, w: nn.conv2d(x, w, groups=2), (1, 4, 8, 8), (6, 2, 1, 1), 2 * 6 * 64 * 2),
    "depthwise": (lambda x, w: nn.conv2d(x, w, groups=4), (1, 4, 8, 8), (4, 1, 3, 3), 2 * 4 * 36 * 9),
    "conv1d": (lambda x, w: nn.conv1d(x, w), (1, 3, 8), (4, 3, 3), 2 * 4 * 6 * 9),
    "HWIO": (
        lambda x, w: nn.conv2d(x, w, data_layout="NHWC", kernel_layout="HWIO"),
        (1, 8, 8, 3), (3, 3, 3, 4), 2 * 4 * 36 * 27,
    ),
    "transposed": (lambda x, w: nn.conv2d_transpose(x, w, strides=2), (1, 3, 4, 4), (3, 5, 2, 2), 2 * 48 * 5 * 4),
    "transposed, grouped": (
        lambda x, w: nn.conv2d_transpose(x, w, groups=2), (1, 4, 4, 4), (4, 3, 2, 2), 2 * 64 * 3 * 4,
    ),
    "matmul": (relax.op.matmul, (2, 7, 3), (3, 5), 2 * 2 * 7 * 5 * 3),
    "vector": (relax.op.matmul, (3,), (3, 5), 2 * 5 * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_multiply_adds_count_twice(name):
    make, shape, weight, flops = COUNTS[name]
    layer = layer_of(make, shape, weight=weight)
    assert layer.flops == flops
    assert layer.weight_bytes == 4 * np.prod(weight)
    assert layer.inputs == ("x0",) and layer.outputs == (layer.name,)


@pytest.mark.parametrize(
    ("make", "flops"),
    [
        (lambda x: nn.max_pool2d(x, (2, 2), (2, 2)), 2 * 16 * 4),
        (lambda x: nn.avg_pool2d(x, (3, 3)), 2 * 36 * 9),
        (lambda x: nn.adaptive_avg_pool2d(x, (1, 1)), 2 * 64),
        (lambda x: nn.relu(x), 2 * 64),
        (lambda x: relax.op.mean(x, axis=[2, 3]), 2 * 64),
        (lambda x: relax.op.reshape(x, (1, 128)), 0),
        (lambda x: relax.op.permute_dims(x, [0, 2, 3, 1]), 0),
    ],
)
def test_what_has_no_weights(make, flops):
    layer = layer_of(make, (1, 2, 8, 8))
    assert (layer.flops, layer.weight_bytes) == (flops, 0)


op = relax.op
#: what one operator counts, on inputs of these shapes
CLASSES = {
    "einsum of two": (lambda a, b: op.einsum([a, b], "bij,bjk->bik"), [(1, 64, 64)] * 2, 2 * 64**3),
    "einsum, batched": (lambda a, b: op.einsum([a, b], "bij,bjk->bik"), [(3, 4, 5), (3, 5, 6)], 2 * 3 * 4 * 5 * 6),
    "einsum, hidden axes": (lambda a, b: op.einsum([a, b], "...ij, ...jk -> ...ik"), [(3, 4, 5), (3, 5, 6)], 720),
    "einsum, nothing summed": (lambda a, b: op.einsum([a, b], "i,j->ij"), [(4,), (5,)], 4 * 5),
    "einsum of one": (lambda a: op.einsum([a], "ij->i"), [(4, 5)], 4 * 5),
    "attention": (op.nn.attention, [(2, 7, 3, 8), (2, 5, 3, 8), (2, 5, 3, 6)], 2 * 3 * 7 * 5 * (2 * 8 + 2 * 6 + 1)),
    "pad": (lambda x: nn.pad(x, (0, 0, 1, 1)), [(2, 8)], 0),
    "flip": (lambda x: op.flip(x, 0), [(2, 8)], 0),
    "tile": (lambda x: op.tile(x, (2, 2)), [(2, 8)], 0),
    "repeat": (lambda x: op.repeat(x, 2, 0), [(2, 8)], 0),
    "stack": (lambda x, y: op.stack([x, y]), [(2, 8)] * 2, 0),
    "tril": (lambda x: op.tril(x), [(8, 8)], 0),
    "cumsum": (lambda x: op.cumsum(x, 1), [(2, 8)], 2 * 8),
    "sort": (lambda x: op.sort(x, 1), [(2, 8)], 2 * 8 * 3),
    "argmax": (lambda x: op.argmax(x, 1), [(2, 8)], 2 * 8),
    "softmax": (lambda x: nn.softmax(x), [(2, 8)], 2 * 8),
    "broadcast": (op.add, [(2, 1), (1, 8)], 2 * 8),
    "resize, nearest": (lambda x: op.image.resize2d(x, (4, 4), method="nearest_neighbor"), [(1, 1, 2, 2)], 0),
    "resize, linear": (lambda x: op.image.resize2d(x, (4, 4), method="linear"), [(1, 1, 2, 2)], 2 * 16 * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_operations_of_one_operator(name, caplog):
    make, shapes, flops = CLASSES[name]
    assert layer_of(make, *shapes).flops == flops
    assert not caplog.records


@pytest.mark.parametrize("name", ["gather_elements", "gather_nd", "scatter_elements", "scatter_nd"])
def test_gather_and_scatter_move(name):
    assert name in MOVES


def test_an_operator_of_no_class_is_told(caplog):
    with caplog.at_level(logging.WARNING, "tvm_split.extract"):
        assert layer_of(lambda x: op.bucketize(x, relax.const(np.zeros(3, "float32"))), (2, 8)).flops == 16
    (record,) = caplog.records
    assert record.name == "tvm_split.extract" and "operator relax.bucketize is of no known class" in record.message


def test_no_operator_is_in_two_classes():
    names = [name for group in (MOVES, ELEMENTWISE, REDUCTIONS, SCANS, SORTS) for name in group]
    known = {str(name) for name in tvm.ir.Op.list_op_names()}
    assert len(names) == len(set(names))
    assert {f"relax.{name}" for name in names} - known <= {"relax.nn.relu6"}


def test_a_kernel_called_by_name_counts_its_loops(caplog):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 6), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(builder.call_te(tvm.topi.nn.dense, x, relax.const(np.ones((5, 6), "float32"))))
        builder.emit_func_output(out)
    (layer,) = extract.graph(FuseActivation()(builder.get())).layers
    assert layer.flops == 2 * 4 * 5 * 6 and not caplog.records


NETWORKS = ["plate-detector", "magika", "basic-pitch", "wakeword-embedding", "ppocr-rec", "yolox"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_zoo_has_no_operator_of_no_class(name, caplog):
    if name == "wakeword-embedding":
        pytest.importorskip("tflite")
    with caplog.at_level(logging.WARNING, "tvm_split.extract"):
        graph = extract.graph(pipeline.layers()(load(f"zoo:{name}")))
    assert [record.message for record in caplog.records if record.name == "tvm_split.extract"] == []
    assert sum(layer.flops for layer in graph.layers) > 1e5


def test_weights_count_as_stored():
    weight = np.zeros((3, 5))
    assert layer_of(relax.op.matmul, (1, 3), weight=weight.shape, dtype="float16").weight_bytes == 2 * weight.size


@I.ir_module
class Tuples:
    @R.function
    def main(x: R.Tensor((2, 4), "float32"), y: R.Tensor((2, 2), "int32")):
        with R.dataflow():
            s = R.split(x, 2, axis=1)
            c = R.concat(s, axis=0)
            p = s[1]
            m = R.nn.softmax(p)
            out = (m, p, c, y)
            R.output(out)
        return out


def test_parts_of_a_tuple_are_tensors():
    graph = extract.graph(FuseActivation()(Tuples), "named")
    assert graph.name == "named" and graph.inputs == ("x", "y")
    assert graph.layer["s"].outputs == ("s.0", "s.1")
    assert graph.layer["c"].inputs == ("s.0", "s.1") and graph.layer["m"].inputs == ("s.1",)
    assert graph.outputs == ("m", "s.1", "c", "y")
    assert graph.tensor["s.1"].shape == (2, 2) and graph.tensor["y"].dtype == "int32"


def test_a_module_without_layers_says_which_pass_is_missing():
    with pytest.raises(ModelError, match="'s' in 'main' is no layer; run the pass fuse-activation first"):
        extract.graph(Tuples)


def returning(make):
    """x -> two pools a and b -> `make(a, b)`."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 1, 4, 4), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            a = builder.emit(nn.max_pool2d(x), name_hint="a")
            b = builder.emit(nn.max_pool2d(a), name_hint="b")
            out = builder.emit_output(make(builder.emit, a, b), name_hint="out")
        builder.emit_func_output(out)
    return FuseActivation()(builder.get())


def test_a_flat_tuple_is_returned():
    assert extract.graph(returning(lambda _, a, b: relax.Tuple([b, a, b]))).outputs == ("b", "a", "b")


@pytest.mark.parametrize(
    "make",
    [
        lambda _, a, b: relax.Tuple([relax.Tuple([a, b]), b]),
        lambda emit, a, b: relax.Tuple([a, emit(relax.Tuple([b]))]),
        lambda _, a, b: relax.Tuple([relax.Tuple([])]),
    ],
)
def test_a_tuple_in_the_result_s_tuple_is_refused(make):
    with pytest.raises(ModelError, match=r"'out' in 'main' is a tuple that holds a tuple.* return one flat tuple"):
        extract.graph(returning(make))


def test_the_onnx_importer_returns_a_flat_tuple():
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 4)) for name in "xab"]
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Softmax", ["a"], ["b"])]
    model = helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]), ir_version=8)
    graph = extract.graph(FuseActivation()(from_onnx(model)))
    assert len(graph.outputs) == 2 and graph.outputs == tuple(layer.name for layer in graph.layers)


def test_the_layers_of_auto_splits_figure_are_those_of_the_optimised_graph():
    """An inverted residual with a gate (KDD 2021): norms and activations are folded before a layer gets its number."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 8, 6, 6), "float32"))
    draw = np.random.default_rng(0)

    def convolution(data, inputs, outputs, kernel=1, groups=1):
        weight = relax.const(draw.standard_normal((outputs, inputs // groups, kernel, kernel)).astype("float32"))
        return builder.emit(nn.conv2d(data, weight, padding=kernel // 2, groups=groups))

    def normed(data, channels):
        one, zero = (relax.const(np.full(channels, value, "float32")) for value in (1, 0))
        norm = builder.emit(nn.batch_norm(data, one, one, zero, one, axis=1, training=False))
        return builder.emit(norm[0])

    with builder.function("main", [x]):
        with builder.dataflow():
            skip = builder.emit(nn.relu(normed(convolution(x, 8, 8), 8)))
            wide = builder.emit(nn.relu(normed(convolution(skip, 8, 16), 16)))
            deep = builder.emit(nn.relu(normed(convolution(wide, 16, 16, 3, 16), 16)))
            gate = builder.emit(nn.relu(convolution(builder.emit(relax.op.mean(deep, [2, 3], True)), 16, 4)))
            gate = builder.emit(relax.op.sigmoid(convolution(gate, 4, 16)))
            narrow = normed(convolution(builder.emit(relax.op.multiply(deep, gate)), 16, 8), 8)
            out = builder.emit_output(relax.op.add(narrow, skip))
        builder.emit_func_output(out)
    graph = extract.graph(pipeline.layers()(builder.get()))
    assert [layer.op for layer in graph.layers] == [
        "conv2d_bias_relu", "conv2d_bias_relu", "conv2d_bias_relu", "mean", "conv2d_relu", "conv2d_sigmoid",
        "multiply", "conv2d_bias_residual",
    ]  # fmt: skip
    edge = [layer.name for layer in graph.layers[:7]]
    assert set(graph.crossing(edge)) == {graph.layers[0].outputs[0], graph.layers[6].outputs[0]}, "T_9 = t_2 + t_9"
