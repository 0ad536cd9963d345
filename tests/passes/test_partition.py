"""Partition: edge then cloud is the whole network, bit for bit, at every cut of random networks."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split import extract, lower
from tvm_split.errors import GraphError
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.partition import Partition, side_outputs

TARGET = tvm.target.Target("llvm")
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


def run(mod, *arrays):
    machine = relax.VirtualMachine(tvm.compile(mod, TARGET, relax_pipeline=lower.pipeline(TARGET)), tvm.cpu())
    result = machine["main"](*(tvm.runtime.tensor(array) for array in arrays))
    return [out.numpy() for out in result] if hasattr(result, "__len__") else [result.numpy()]


def joined(mod, edge_layers, arrays):
    """The network's outputs by name, and both halves, the way the runtime uses them."""
    marked = AssignCut(edge_layers)(mod)
    before = tvm_ffi.structural_hash(marked)
    crossing, at_edge, at_cloud = side_outputs(marked)
    edge, cloud = Partition("edge")(marked), Partition("cloud")(marked)
    assert tvm_ffi.structural_hash(marked) == before
    for half in (edge, cloud):
        relax.analysis.well_formed(half)
    names = tuple(dict.fromkeys((*crossing, *at_edge)))
    made = dict(zip(names, run(edge, *arrays), strict=True)) if names else {}
    if at_cloud:
        made |= zip(at_cloud, run(cloud, *(made[name] for name in crossing)), strict=True)
    return made, edge, cloud


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 2), st.data())
def test_edge_then_cloud_is_the_whole(seed, size, inputs, data):
    mod = random_network(seed, size, inputs)
    graph = extract.graph(mod)
    picked = data.draw(
        st.sets(st.sampled_from([layer.name for layer in graph.layers])) if graph.layers else st.just(set())
    )
    edge_layers = graph.closure(picked)
    arrays = [np.random.default_rng(seed + i).standard_normal(SHAPE).astype("float32") for i in range(inputs)]
    made, edge, cloud = joined(mod, edge_layers, arrays)
    for name, want in zip(graph.outputs, run(mod, *arrays), strict=True):
        assert np.array_equal(made[name], want)
    weights = {layer.name: layer.weight_bytes for layer in graph.layers}
    for half, names in ((edge, edge_layers), (cloud, weights.keys() - edge_layers)):
        held = {layer.name: layer.weight_bytes for layer in extract.graph(half).layers}
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
def test_an_input_read_on_both_sides(outputs, edge):
    x = np.random.default_rng(1).standard_normal(SHAPE).astype("float32")
    mod = small(outputs)
    made, edge_half, cloud = joined(mod, edge, [x])
    for name, want in zip(extract.graph(mod).outputs, run(mod, x), strict=True):
        assert np.array_equal(made[name], want)
    assert [p.name for p in edge_half["main"].params] == ["x"]
    assert [p.name for p in cloud["main"].params] == {0: ["x"], 1: ["x", "a"], 2: []}[len(edge)]
    held = [sum(layer.weight_bytes for layer in extract.graph(half).layers) for half in (edge_half, cloud)]
    assert held == [len(edge) * 144, 288 - len(edge) * 144]


def test_there_are_two_sides():
    with pytest.raises(GraphError, match="there is no side 'fog'; a partition takes 'edge' or 'cloud'"):
        Partition("fog")(AssignCut(())(small("c")))
