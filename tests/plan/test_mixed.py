"""A cut with bits, priced: by hand, against the float price, and against what may never happen."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.costs import Costs
from tvm_split.errors import CostError, PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.arena import arena_walk
from tvm_split.plan.choices import choices, worthwhile
from tvm_split.plan.evaluate import alive, evaluate
from tvm_split.plan.live import live_bytes
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.precision import IntegerLayer, Precision
from tvm_split.plan.problem import Link, Problem

TABLE = {4: 0.5, 8: 0.25, 16: 0.125}


@pytest.fixture
def problem():
    """x -> a (60 weights, a bias of 3) -> b (no weights) -> y, which also reads a. Ten elements each."""
    tensors = tuple(Tensor(name, (10,), "float32") for name in "xaby")
    layers = (
        Layer("a", "conv2d", ("x",), ("a",), 0, 4 * 63),
        Layer("b", "relu", ("a",), ("b",)),
        Layer("y", "add", ("a", "b"), ("y",)),
    )
    costs = Costs("edge", "test", dict.fromkeys("aby", 1.0))
    precision = Precision(
        widths=(4, 8, 16, 32),
        weight_matrix={"a": (3, 20)},
        weight_distortion={"a": TABLE},
        tensor_distortion={"x": TABLE, "a": TABLE, "b": TABLE},
        integer=Costs("edge", "test", {"a": 0.5, "b": 0.25, "y": 0.75}),
    )
    graph = Graph("skip", tensors, layers, ("x",), ("y",))
    return Problem(graph, costs, costs, Link("link", 100.0, 100.0), cut_bits=(4, 8, 32), precision=precision)


@pytest.mark.parametrize(("bits", "size"), [(4, 12 + 30 + 12), (8, 12 + 60 + 12), (16, 12 + 120), (32, 12 + 240)])
def test_bytes_of_weights(problem, bits, size):
    """The bias stays, as offsets below 16 bits, where each of the 3 channels has a scale too."""
    assert problem.precision.weight_bytes(problem.graph.layer["a"], bits) == size


@pytest.mark.parametrize(("bits", "size"), [(4, 40 + 30), (8, 40 + 96), (16, 12 + 120), (32, 12 + 240)])
def test_bytes_of_weights_as_compiled(problem, bits, size):
    """At 8 bits the codes take what the kernel's layout does; below, they are packed."""
    known = replace(problem.precision, integer_layers={"a": IntegerLayer(96, 40, 7)})
    assert known.weight_bytes(problem.graph.layer["a"], bits) == size


def test_the_scratch_of_what_a_layer_is_computed_on(problem):
    """x comes in as floats; with it at 8 bits the layer is on integers, whose scratch is another."""
    layers = (replace(problem.graph.layers[0], scratch_bytes=500), *problem.graph.layers[1:])
    precision = replace(problem.precision, integer_layers={"a": IntegerLayer(60, 24, 90)})
    problem = replace(problem, graph=replace(problem.graph, layers=layers), precision=precision)

    def memory(**bits):
        return evaluate_mixed(problem, "a", Bits(weights={"a": 8}, **bits)).edge_memory_bytes

    quantised_x = 10
    assert memory(tensors={"x": 8}) - memory() == quantised_x + 90 - 500


def test_integers_need_narrow_weights_and_narrow_reads(problem):
    def edge_s(**bits):
        return evaluate_mixed(problem, "aby", Bits(**bits)).predicted.edge_s

    assert edge_s() == 3.0
    assert edge_s(weights={"a": 8}) == 3.0, "x is held as it is"
    assert edge_s(weights={"a": 8}, tensors={"x": 8}) == 2.5
    assert edge_s(weights={"a": 16}, tensors={"x": 8}) == 3.0
    assert edge_s(tensors={"a": 8}) == 2.25, "b has no weights; y reads b as well"
    assert edge_s(tensors={"a": 4, "b": 16}) == 2.25
    assert edge_s(tensors={"a": 4, "b": 8}) == 2.0


def test_a_tensor_counts_once_at_the_narrowest_width_that_a_reader_gets(problem):
    def lost(edge, **bits):
        return evaluate_mixed(problem, edge, Bits(**bits)).distortion

    assert lost("a", crossing={"a": 8}) == 0.25
    assert lost("a", tensors={"a": 4}, crossing={"a": 8}) == 0.5
    assert lost("a", tensors={"a": 8}, crossing={"a": 4}) == 0.5
    assert lost("a", weights={"a": 4}, tensors={"a": 8}) == 0.5 + 0.25
    assert lost("aby", tensors={"y": 4}) == 0.0, "results stay as they are"
    assert lost("", tensors={"a": 4}, weights={"a": 4}) == 0.0, "the cloud quantises nothing"
    assert lost("a", tensors={"x": 8}) == 0.25


def test_crossing_is_never_wider_than_held(problem):
    for held, wanted, bits, size in ((8, 32, 8, 10), (8, 4, 4, 5), (16, 32, 16, 20), (16, 8, 8, 10), (32, 32, 32, 40)):
        found = evaluate_mixed(problem, "a", Bits(tensors={"a": held}, crossing={"a": wanted}))
        assert [(part.bits, part.size_bytes) for part in found.crossing] == [(bits, size)]
        assert found.predicted.uplink_s == pytest.approx(size / 100)


def test_memory_by_hand(problem):
    def size(**bits):
        return evaluate_mixed(problem, "ab", Bits(**bits)).edge_memory_bytes

    x, weights = 40, 252
    assert size() == weights + x + (40 + 40) + 2 * (40 + 40), "a and b, as they are, into one row"
    held = {"a": 8, "b": 8}
    assert size(tensors=held) == weights + x + (10 + 10) + 2 * (10 + 10)
    assert size(tensors=held, crossing={"a": 4, "b": 4}) == weights + x + (10 + 10) + 10 + 2 * (5 + 5), (
        "b's integers take a's place"
    )
    assert size(tensors=held | {"x": 8}) == weights + x + (10 + 10) + 2 * (10 + 10), "b after the frame's copy"
    narrow = held | {"x": 8}
    assert size(weights={"a": 4}, tensors=narrow) == (12 + 30 + 12) + x + (10 + 10) + 2 * (10 + 10)
    assert size(weights={"a": 4}, tensors=held) == (12 + 60 + 12) + x + (10 + 10) + 2 * (10 + 10), "beside float data"


@given(seed=st.integers(0, 10**6), wanted=st.sets(st.integers(0, 8)))
@settings(max_examples=100, deadline=None)
def test_without_bits_the_price_is_the_float_price(seed, wanted, make_problem):
    problem = make_problem(seed)
    names = problem.graph.closure(layer.name for i, layer in enumerate(problem.graph.layers) if i in wanted)
    expected = evaluate(problem, names, 32)
    problem = replace(problem, precision=Precision((8, 32), {}, {}, {}), tensor_bits={})
    fixed = replace(problem, precision=None)
    assert evaluate_mixed(problem, names, Bits()) == evaluate(fixed, names, 32)
    if not make_problem(seed).tensor_bits:
        assert evaluate_mixed(problem, names, Bits()) == expected


@given(seed=st.integers(0, 10**6), wanted=st.sets(st.integers(0, 4)), widths=st.lists(st.integers(0, 9), min_size=40))
@settings(max_examples=200, deadline=None)
def test_live_tensors_are_never_more_than_storages(seed, wanted, widths, make_mixed):
    problem = make_mixed(seed, 5)
    graph, options = problem.graph, choices(problem)
    edge = graph.closure(layer.name for i, layer in enumerate(graph.layers) if i in wanted)
    draw = iter(widths)
    parts = [
        {name: found[next(draw, 0) % len(found)] for name, found in part.items() if found}
        for part in (options.weights, options.held, options.crossing)
    ]
    real = evaluate_mixed(problem, edge, Bits(*parts))
    live = evaluate_mixed(problem, edge, Bits(*parts), alive)
    assert live.edge_memory_bytes <= real.edge_memory_bytes
    assert replace(live, edge_memory_bytes=0) == replace(real, edge_memory_bytes=0)
    layers = [layer for layer in graph.layers if layer.name in edge]
    sizes = list(live_bytes(graph, layers, graph.outputs, (), real.tensor_bits))
    assert sizes == sorted(sizes)
    storages = [after.size_bytes for after in arena_walk(graph, layers, graph.outputs, (), real.tensor_bits)]
    assert all(a <= b for a, b in zip(sizes, storages, strict=True))


def test_constants_of_a_layer_without_weights_to_quantise(problem):
    """On integers it has others, as compiled; on floats its own."""
    layer = problem.graph.layer["y"]
    precision = replace(problem.precision, weight_distortion={}, integer_layers={"y": IntegerLayer(700, 50, 0)})
    assert precision.weight_bytes(layer, 32) == 750 != layer.weight_bytes
    assert precision.weight_bytes(layer, 32, on_integers=False) == layer.weight_bytes


def test_packed_weights_are_decoded_into_scratch(problem):
    """Below 8 bits the layer's kernel takes 500 bytes instead of 70; on floats what it takes on floats."""
    precision = replace(problem.precision, integer_layers={"a": IntegerLayer(100, 0, 70, 500)})
    layer = problem.graph.layer["a"]
    assert [precision.scratch_bytes(layer, True, bits) for bits in (2, 4, 8)] == [500, 500, 70]
    assert precision.scratch_bytes(layer, False, 4) == layer.scratch_bytes
    assert Precision.from_json(precision.to_json()) == precision


def test_less_at_fewer_bits_is_noise(problem):
    noisy = replace(problem.precision, tensor_distortion={"a": {4: 0.1, 8: 0.3, 16: 0.2}})
    assert [noisy.of_tensor("a", bits) for bits in (4, 8, 16)] == [0.3, 0.3, 0.2]
    noisy = replace(problem.precision, weight_distortion={"a": {4: 0.1, 8: 0.3, 16: 0.2}})
    assert [noisy.of_weights("a", bits) for bits in (4, 8, 16, 32)] == [0.1, 0.3, 0.2, 0.0]


def test_choices_are_what_precision_user_and_dtype_leave(problem):
    found = choices(replace(problem, tensor_bits={"b": 8}))
    assert found.weights == {"a": (4, 8, 16, 32), "b": (), "y": ()}
    assert found.held == {"x": (4, 8, 16, 32), "a": (4, 8, 16, 32), "b": (4, 8, 16, 32), "y": (32,)}
    assert found.crossing == {"x": (32,), "a": (4, 8, 32), "b": (8,), "y": (32,)}
    fixed = replace(problem, precision=replace(problem.precision, fixed={"a": 8}))
    assert (choices(fixed).weights["a"], choices(fixed).held["a"]) == ((8,), (8,))
    left = worthwhile(problem, choices(problem), by_memory=True, limit=0.3)
    assert left.held["a"] == (8, 16, 32) and left.crossing["a"] == (8, 32) and left.weights["a"] == (8, 16, 32)
    assert worthwhile(problem, choices(problem), by_memory=False, limit=None).weights["a"] == (8, 32)


def test_json_round_trip(problem, make_mixed):
    for precision in (problem.precision, *(make_mixed(seed).precision for seed in range(20))):
        assert Precision.from_json(json.loads(json.dumps(precision.to_json()))) == precision
    with pytest.raises(PlanError, match="this precision has version 9; this tvm-split reads version 3"):
        Precision.from_json({"version": 9})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, "the edge's widths are []; expected some of 2, 3, 4, 6, 8, 16, 32, ascending"),
        ({"widths": (8, 4)}, "the edge's widths are [8, 4]; expected"),
        ({"widths": (4, 5)}, "the edge's widths are [4, 5]; expected"),
        ({"fixed": {"a": 2}}, "'a' is fixed to 2 bits, but it is no layer with quantisable weights and no tensor"),
        ({"fixed": {"a": 5}}, "'a' is fixed to 5 bits, which no edge has; the widths are 2, 3, 4, 6, 8, 16, 32"),
        ({"fixed": {"y": 4}}, "'y' is fixed to 4 bits, but it is no layer with quantisable weights and no tensor"),
        ({"weight_matrix": {}}, "layer 'a' has a weight_distortion, but its weight_matrix is not known"),
        ({"weight_matrix": {"a": (8, 8)}}, "weight_matrix of layer 'a' is 8 x 8 elements, which are more float32 than"),
        ({"weight_distortion": {"a": {4: 1.0}}}, "the distortion of weights of layer 'a' at 8 bits is not known"),
        ({"tensor_distortion": {"a": TABLE | {8: float("nan")}}}, "tensor 'a' at 8 bits is nan; expected a number"),
        ({"tensor_distortion": {"q": TABLE}}, "tensor_distortion names 'q', but graph 'skip' has no such float tensor"),
        ({"max_distortion": -1.0}, "max_distortion is -1.0; expected a number that is not negative"),
    ],
)
def test_what_a_precision_refuses(problem, fields, message):
    with pytest.raises(PlanError, match=re.escape(message)):
        replace(problem, precision=replace(problem.precision, **fields))


def test_a_missing_number_is_an_error(problem):
    with pytest.raises(CostError, match="no cost of layer 'y' on 'edge'"):
        replace(problem, precision=replace(problem.precision, integer=Costs("edge", "test", {"a": 1.0, "b": 1.0})))
    with pytest.raises(PlanError, match="distortion of tensor 'b' at 2 bits is not known; calibrate it"):
        evaluate_mixed(problem, "ab", Bits(tensors={"b": 2}))
    with pytest.raises(PlanError, match="the problem has no precision"):
        evaluate_mixed(replace(problem, precision=None), "ab", Bits())
