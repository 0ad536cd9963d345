"""Graph: what it refuses, its JSON, what crosses a cut, and its live bytes against a naive simulation."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import GraphError
from tvm_split.graph import Graph, Layer, Tensor

T = {name: Tensor(name, (10,), "uint8") for name in "xabcd"}


def graph(layers, tensors="xabcd", inputs=("x",), outputs=("d",)):
    return Graph("g", tuple(T[name] for name in tensors), tuple(layers), inputs, outputs)


def diamond():
    """x -> A -> a; a -> B -> b; a -> C -> c; (b, c) -> D -> d"""
    return graph(
        [
            Layer("A", "op", ("x",), ("a",)),
            Layer("B", "op", ("a",), ("b",)),
            Layer("C", "op", ("a",), ("c",)),
            Layer("D", "op", ("b", "c"), ("d",)),
        ]
    )


def naive_peak(graph, edge):
    """Run the layers one by one; a tensor is held while anything that is still to come wants it."""
    order = [layer for layer in graph.layers if layer.name in edge]
    cloud_reads = {name for layer in graph.layers if layer.name not in edge for name in layer.inputs}
    held = {name for name in graph.inputs if graph.readers[name] or name in graph.outputs}
    peak = sum(graph.tensor[name].size_bytes for name in held)
    for i, layer in enumerate(order):
        held.update(layer.outputs)
        peak = max(peak, sum(graph.tensor[name].size_bytes for name in held))
        wanted = cloud_reads.union(graph.outputs, *(later.inputs for later in order[i + 1 :]))
        held &= wanted
    return peak


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: graph([Layer("A", "op", ("b",), ("a",))]), "layer 'A' reads ['b'], which no earlier layer makes"),
        (lambda: graph([Layer("A", "op", (), ("a",)), Layer("A", "op", (), ("b",))]), "two layers named 'A'"),
        (
            lambda: graph([Layer("A", "op", (), ("a",)), Layer("B", "op", (), ("a",))]),
            "makes 'a', which is made",
        ),
        (lambda: graph([], tensors="xaba"), "two tensors named 'a'"),
        (lambda: graph([], inputs=("x", "x")), "two inputs named 'x'"),
        (lambda: graph([]), "outputs ['d'] of graph 'g' are made by no layer"),
        (
            lambda: graph([], tensors="x", outputs=("d",)),
            "'d' is an input or output in graph 'g', but not",
        ),
        (lambda: Tensor("t", (1,), "int4"), "tensor 't' has dtype 'int4'; known are bool, int8"),
        (lambda: Tensor("t", (-1,), "int8"), "tensor 't' has shape (-1,); extents must be known and not negative"),
        (lambda: Graph.from_json({"version": 7}), "this graph has version 7; this tvm-split reads version 1"),
        (lambda: diamond().position("Z"), "graph 'g' has no layer 'Z'"),
        (lambda: diamond().check_cut({"A", "D"}), "layer 'D' is on the edge but reads from 'B' in the cloud"),
    ],
)
def test_errors_name_what_is_wrong(make, message):
    with pytest.raises(GraphError, match=re.escape(message)):
        make()


@given(seed=st.integers(0, 10**6))
def test_json_round_trip(seed, make_graph):
    found = make_graph(seed)
    assert Graph.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("edge", "crossing", "with_results"),
    [
        ("", ("x",), ("x",)),
        ("A", ("a",), ("a",)),
        ("AB", ("a", "b"), ("a", "b")),
        ("ABC", ("b", "c"), ("b", "c")),
        ("ABCD", (), ("d",)),
    ],
)
def test_crossing_of_a_diamond(edge, crossing, with_results):
    assert diamond().is_legal_cut(edge)
    assert diamond().crossing(edge) == crossing
    assert diamond().crossing(edge, result_at_cloud=True) == with_results


def test_views_of_a_diamond():
    found = diamond()
    assert found.readers["a"] == ("B", "C")
    assert found.producer["x"] is None and found.producer["c"] == "C"
    assert found.predecessors("D") == ("B", "C")
    assert found.closure(["B"]) == {"A", "B"} and found.closure(["D"]) == set("ABCD")
    assert not found.is_legal_cut({"B"})
    assert found.peak_activation_bytes() == 30


@given(seed=st.integers(0, 10**6), wanted=st.sets(st.integers(0, 8)))
def test_peak_equals_a_naive_simulation(seed, wanted, make_graph):
    found = make_graph(seed)
    edge = found.closure(layer.name for i, layer in enumerate(found.layers) if i in wanted)
    assert found.peak_activation_bytes(edge) == naive_peak(found, edge)
    assert found.peak_activation_bytes() == naive_peak(found, {layer.name for layer in found.layers})
