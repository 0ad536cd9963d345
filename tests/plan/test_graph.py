"""Graph: what it refuses, its JSON, and what crosses a cut."""

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
        (lambda: Graph.from_json({"version": 7}), "this graph has version 7; this tvm-split reads version 3"),
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
