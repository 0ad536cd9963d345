"""Partition: edge then cloud is the whole network, bit for bit, at every cut of random networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import extract
from tvm_split.errors import GraphError
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.partition import Partition

SHAPE = (1, 2, 4, 4)


def random_network(seed, size, inputs):
    """Convolutions, residuals, activations, splits and joins; one to three outputs, an input may be among them."""
    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(SHAPE, "float32")) for i in range(inputs)]
    with builder.function("main", params):
        with builder.dataflow():
            made = list(params)
            for _ in range(size):
                a, b = (made[i] for i in rng.integers(0, len(made), 2))
                weight = relax.const(rng.standard_normal((2, 2, 3, 3)).astype("float32"))
                kind = rng.integers(0, 5)
                if kind == 0:
                    made.append(builder.emit(relax.op.nn.relu(builder.emit(relax.op.nn.conv2d(a, weight, padding=1)))))
                elif kind == 1:
                    made.append(builder.emit(relax.op.add(builder.emit(relax.op.nn.conv2d(a, weight, padding=1)), b)))
                elif kind == 2:
                    made.append(builder.emit(relax.op.multiply(a, builder.emit(relax.op.sigmoid(b)))))
                elif kind == 3:
                    parts = builder.emit(relax.op.split(a, 2, axis=1))
                    swapped = relax.op.concat([relax.TupleGetItem(parts, 1), relax.TupleGetItem(parts, 0)], axis=1)
                    made.append(builder.emit(swapped))
                else:
                    made.append(builder.emit(relax.op.nn.max_pool2d(a, (3, 3), padding=(1, 1))))
            extra = [made[i] for i in rng.integers(0, len(made), rng.integers(0, 3))]
            out = builder.emit_output(relax.Tuple([made[-1], *extra]))
        builder.emit_func_output(out)
    return FuseActivation()(builder.get())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 2), st.data())
def test_edge_then_cloud_is_the_whole(run_layers, run_halves, seed, size, inputs, data):
    mod = random_network(seed, size, inputs)
    graph = extract.graph(mod)
    picked = data.draw(
        st.sets(st.sampled_from([layer.name for layer in graph.layers])) if graph.layers else st.just(set())
    )
    edge_layers = graph.closure(picked)
    arrays = [np.random.default_rng(seed + i).standard_normal(SHAPE).astype("float32") for i in range(inputs)]
    marked = AssignCut(edge_layers, data.draw(st.sampled_from(["edge", "cloud"])))(mod)
    for got, want in zip(run_halves(marked, *arrays), run_layers(mod, *arrays), strict=True):
        assert np.array_equal(got, want)
    weights = {layer.name: layer.weight_bytes for layer in graph.layers}
    for side, names in (("edge", edge_layers), ("cloud", weights.keys() - edge_layers)):
        held = {layer.name: layer.weight_bytes for layer in extract.graph(Partition(side)(marked)).layers}
        assert held.items() <= {name: weights[name] for name in names}.items()


def small(outputs):
    """a = conv(x); b = conv(a) + x: x is read on both sides of the cut {a}."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    weight = relax.const(np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype("float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            a = builder.emit(relax.op.nn.conv2d(x, weight, padding=1), name_hint="a")
            b = builder.emit(relax.op.nn.conv2d(a, weight, padding=1), name_hint="b")
            c = builder.emit(relax.op.add(b, x), name_hint="c")
            values = {"x": x, "a": a, "c": c}
            out = builder.emit_output(relax.Tuple([values[name] for name in outputs]))
        builder.emit_func_output(out)
    return FuseActivation()(builder.get())


@pytest.mark.parametrize("outputs", ["c", "ca", "xc", "axca"])
@pytest.mark.parametrize("edge", [(), ("a",), ("a", "b")])
def test_an_input_read_on_both_sides(run_layers, run_halves, outputs, edge):
    x = np.random.default_rng(1).standard_normal(SHAPE).astype("float32")
    mod = small(outputs)
    marked = AssignCut(edge)(mod)
    for got, want in zip(run_halves(marked, x), run_layers(mod, x), strict=True):
        assert np.array_equal(got, want)
    halves = Partition("edge")(marked), Partition("cloud")(marked)
    params = {0: ["x"], 1: ["x", "a"], 2: []}[len(edge)]
    assert [[param.name for param in half["main"].params] for half in halves] == [["x"], params]
    held = [sum(layer.weight_bytes for layer in extract.graph(half).layers) for half in halves]
    assert held == [len(edge) * 144, 288 - len(edge) * 144]


def test_there_are_two_sides():
    with pytest.raises(GraphError, match="there is no side 'fog'; a partition takes 'edge' or 'cloud'"):
        Partition("fog")(AssignCut(())(small("c")))
