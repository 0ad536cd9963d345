"""Shapes of what layers multiply, read from modules of a few operators."""

import numpy as np
import pytest
from tvm import relax

from tvm_split import pipeline
from tvm_split.errors import CostError
from tvm_split.extract import graph as extract_graph
from tvm_split.profile.layer_shape import LayerShape
from tvm_split.profile.read_shapes import layer_shapes

op = relax.op


def const(*shape: int) -> relax.Expr:
    return relax.const(np.ones(shape, "float32"))


CASES = {
    "convolution": (
        lambda x: op.nn.conv2d(x, const(6, 4, 3, 2), strides=(2, 1), padding=(1, 0)), (1, 4, 9, 8),
        LayerShape(5, 7, 3, 2, 4, 6, 2, 1),
    ),
    "batch": (lambda x: op.nn.conv2d(x, const(6, 4, 3, 3)), (5, 4, 9, 8), LayerShape(35, 6, 3, 3, 4, 6)),
    "channels last": (
        lambda x: op.nn.conv2d(x, const(3, 3, 4, 6), data_layout="NHWC", kernel_layout="HWIO"), (1, 9, 8, 4),
        LayerShape(7, 6, 3, 3, 4, 6),
    ),
    "dilated": (lambda x: op.nn.conv2d(x, const(6, 4, 3, 3), dilation=2), (1, 4, 9, 8), LayerShape(5, 4, 3, 3, 4, 6)),
    "grouped": (
        lambda x: op.nn.conv2d(x, const(6, 2, 3, 3), groups=2), (1, 4, 9, 8), LayerShape(7, 6, 3, 3, 2, 3, groups=2),
    ),
    "depth-wise": (
        lambda x: op.nn.conv2d(x, const(8, 1, 3, 3), groups=4), (1, 4, 9, 8), LayerShape(7, 6, 3, 3, 1, 2, groups=4),
    ),
    "one dimension": (
        lambda x: op.nn.conv1d(x, const(6, 4, 3), strides=2), (2, 4, 9), LayerShape(2, 4, 1, 3, 4, 6, 1, 2),
    ),
    "three dimensions": (
        lambda x: op.nn.conv3d(x, const(6, 4, 2, 3, 3)), (1, 4, 5, 9, 8), LayerShape.matmul(4 * 7 * 6, 4 * 18, 6),
    ),
    "transposed": (
        lambda x: op.nn.conv2d_transpose(x, const(4, 3, 2, 2), strides=2, groups=2), (1, 4, 5, 6),
        LayerShape.matmul(30, 2, 12, 2),
    ),
    "matmul": (lambda x: op.matmul(x, const(7, 9)), (5, 7), LayerShape.matmul(5, 7, 9)),
    "matmul of a batch": (lambda x: op.matmul(x, const(7, 9)), (3, 5, 7), LayerShape.matmul(15, 7, 9)),
    "matmul of two batches": (lambda x: op.matmul(x, const(3, 7, 9)), (3, 5, 7), LayerShape.matmul(5, 7, 9, 3)),
    "matmul by a batch": (lambda x: op.matmul(x, const(3, 7, 9)), (5, 7), LayerShape.matmul(5, 7, 9, 3)),
    "matmul by a vector": (lambda x: op.matmul(x, const(7)), (5, 7), LayerShape.matmul(5, 7, 1)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_layer_is_read_as(build, case):
    body, shape, expected = CASES[case]
    mod = pipeline.layers(winograd=False)(build(lambda emit, x: emit(body(x), "y"), shape))
    (layer,) = extract_graph(mod).layers
    assert layer_shapes(mod) == {layer.name: expected}
    assert 2 * expected.macs == layer.flops


def test_layers_that_multiply_nothing_are_left_out(build):
    def body(emit, x):
        pooled = emit(op.nn.max_pool2d(x, (2, 2)), "pooled")
        convolved = emit(op.nn.conv2d(pooled, const(3, 4, 1, 1)), "convolved")
        return emit(op.nn.softmax(emit(op.nn.relu(convolved), "rectified")), "scores")

    mod = pipeline.layers(winograd=False)(build(body, (1, 4, 8, 8)))
    assert len(extract_graph(mod).layers) > 1
    assert list(layer_shapes(mod).values()) == [LayerShape(7, 7, 1, 1, 4, 3)]


def test_what_no_array_maps_is_named(build):
    mod = build(lambda emit, x: emit(op.einsum((x, const(7, 9)), "ij,jk->ik"), "product"), (5, 7))
    with pytest.raises(CostError, match=r"layer 'gv' is relax.einsum, which is not mapped .*--costs roofline"):
        layer_shapes(pipeline.layers(winograd=False)(mod))
