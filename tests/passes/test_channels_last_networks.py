"""ChannelsLast: random networks, their halves, and networks of the zoo."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import extract, frontend, pipeline
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.channels_last import ChannelsLast
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import layer_calls
from tvm_split.passes.partition import Partition, side_outputs

NN = relax.op.nn


def network(seed, size, weights):
    """Layers of every sort over two inputs, and three results."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType((1, 4, 5, 3), "float32")) for i in range(2)]
    with builder.function("main", params):
        with builder.dataflow():
            made, emit = list(params), builder.emit
            for _ in range(size):
                a, b = (made[i] for i in rng.integers(0, len(made), 2))
                kind = rng.integers(0, 7)
                if kind < 2:
                    c = emit(NN.conv2d(a, relax.const(weights(rng, (4, 4, 3, 3))), padding=1))
                    made.append(emit(relax.op.add(c, b) if kind else NN.relu(c)))
                elif kind == 2:
                    made.append(emit(NN.max_pool2d(a, (3, 3), padding=1)))
                elif kind == 3:
                    made.append(emit(relax.op.maximum(a, b)))
                elif kind == 4:
                    made.append(emit(relax.op.add(a, emit(relax.op.sum(b, [2, 3], keepdims=True)))))
                elif kind == 5:
                    turned = emit(relax.op.permute_dims(a, [0, 1, 3, 2]))
                    made.append(emit(relax.op.reshape(turned, (1, 4, 5, 3))))
                else:
                    parts = emit(relax.op.split(a, 2, 1))
                    made.append(emit(relax.op.concat([relax.TupleGetItem(parts, i) for i in (1, 0)], 1)))
            out = builder.emit_output(relax.Tuple([made[-1], *(made[i] for i in rng.integers(0, len(made), 2))]))
        builder.emit_func_output(out)
    return FuseActivation()(builder.get())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_random_networks(apply, run_layers, seed, size):
    """Four layers that each sum 36 terms, an addend and weights of 1: below 4 * 37^4 < 2^24, so exact."""
    mod = network(seed, size, lambda rng, shape: rng.integers(-1, 2, shape).astype("float32"))
    inputs = [np.random.default_rng(seed + i).integers(-3, 4, (1, 4, 5, 3)).astype("float32") for i in range(2)]
    for got, want in zip(run_layers(apply(ChannelsLast(), mod), *inputs), run_layers(mod, *inputs), strict=True):
        np.testing.assert_array_equal(got, want)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.data())
def test_halves_are_the_whole_bit_for_bit(apply, run_layers, seed, size, data):
    mod = network(seed, size, lambda rng, shape: rng.standard_normal(shape).astype("float32"))
    graph = extract.graph(mod)
    edge_layers = graph.closure(data.draw(st.sets(st.sampled_from([layer.name for layer in graph.layers]))))
    marked = AssignCut(edge_layers, data.draw(st.sampled_from(["edge", "cloud"])))(mod)
    inputs = [np.random.default_rng(seed + i).standard_normal((1, 4, 5, 3)).astype("float32") for i in range(2)]
    crossing, at_edge, at_cloud = side_outputs(marked)
    edge, cloud = (apply(ChannelsLast(), Partition(side)(marked)) for side in ("edge", "cloud"))
    returned = dict.fromkeys((*crossing, *at_edge))
    made = dict(zip(returned, run_layers(edge, *inputs), strict=True)) if returned else {}
    if at_cloud:
        made |= zip(at_cloud, run_layers(cloud, *(made[name] for name in crossing)), strict=True)
    for name, want in zip(graph.outputs, run_layers(apply(ChannelsLast(), mod), *inputs), strict=True):
        np.testing.assert_array_equal(made[name], want)


#: network of the zoo -> permute_dims there may be at most: one for each input
ZOO = {"efficientnet-lite0": 1, "yolox": 1, "ppocr-rec": 1, "plate-detector": 1, "magika": 0, "googlenet": 1,
       "ppocr-det": 2}  # fmt: skip
RUN = {"efficientnet-lite0", "magika"}


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo(apply, conversions, run_layers, name):
    mod = pipeline.layers()(frontend.load(f"zoo:{name}"))
    result = apply(ChannelsLast(), mod)
    assert conversions(result)["relax.permute_dims"] <= ZOO[name]
    for _, callee in layer_calls(result):
        for binding in callee.body.blocks[0].bindings:
            if isinstance(binding.value, relax.Call) and binding.value.op.name == "relax.nn.conv2d":
                assert str(binding.value.attrs.data_layout) == "NHWC"
    if name in RUN:
        (param,) = mod["main"].params
        shape = [int(extent) for extent in param.ty.shape.values]
        x = np.random.default_rng(0).integers(0, 255, shape).astype(str(param.ty.dtype))
        if param.ty.dtype == "float32":
            x /= 255
        for got, want in zip(run_layers(result, x), run_layers(mod, x), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
