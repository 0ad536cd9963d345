import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import extract, frontend, pipeline
from tvm_split.profile.sampled import Convolution, Product, around, network, shapes_of

DEPTHWISE = Convolution((32, 32), (56, 56), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 32, True)
DENSE = Convolution((64, 128), (28, 28), (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1, False)


def test_shapes_of_a_network_are_its_convolutions_and_products():
    mod = pipeline.layers()(frontend.load("zoo:efficientnet-lite0"))
    found = shapes_of(mod)
    stem = Convolution((3, 32), (224, 224), (3, 3), (2, 2), (0, 0, 1, 1), (1, 1), 1, True)
    assert found[0] == stem and Product(1, 1280, 1000) in found
    assert sum(isinstance(s, Convolution) and s.groups > 1 for s in found) > 10 and len(set(found)) == len(found)


@given(st.sampled_from([DEPTHWISE, DENSE, Product(49, 512, 1000)]), st.integers(0, 10**6))
@settings(max_examples=60)
def test_shapes_around_one_stay_of_its_kind(shape, seed):
    for made in around([shape], 4, seed):
        assert type(made) is type(shape) and made != shape
        if isinstance(made, Product):
            assert 1 / 2.1 <= made.inner / shape.inner <= 2.1
            continue
        assert (made.kernel, made.strides, made.relu) == (shape.kernel, shape.strides, shape.relu)
        assert (made.groups == made.channels[0] == made.channels[1]) == (shape is DEPTHWISE)
        assert made.channels[0] % 16 == 0 and 1 / 2.1 <= made.channels[0] / shape.channels[0] <= 2.1


def test_around_draws_the_same_again_and_nothing_from_nothing():
    assert around([DENSE], 5, 3) == around([DENSE], 5, 3) != around([DENSE], 5, 4)
    assert around([], 5, 0) == []


def test_a_network_of_shapes_has_each_as_a_layer():
    mod = pipeline.layers()(network([DEPTHWISE, DENSE, Product(3, 16, 8)]))
    graph = extract.graph(mod, "sampled")
    assert [layer.op for layer in graph.layers] == ["conv2d_bias_relu", "conv2d_bias", "matmul_bias"]
    assert [graph.tensor[layer.outputs[0]].shape for layer in graph.layers] == [
        (1, 32, 56, 56),
        (1, 128, 14, 14),
        (3, 8),
    ]
    assert [layer.flops >= 2 * macs for layer, macs in zip(
        graph.layers, (32 * 56 * 56 * 9, 128 * 14 * 14 * 64, 3 * 16 * 8), strict=True)] == [True] * 3  # fmt: skip


@pytest.mark.parametrize("batch", [2, 1])
def test_what_is_no_convolution_of_one_picture_is_left_out(build, batch):
    weight = relax.const(np.zeros((4, 3, 1, 1), "float32"))
    mod = pipeline.layers()(build(lambda emit, x: emit(relax.op.nn.conv2d(x, weight)), (batch, 3, 8, 8)))
    assert len(shapes_of(mod)) == (batch == 1)
