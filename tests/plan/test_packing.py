"""What packing and unpacking take: by hand, and where it moves the cut."""

from dataclasses import replace

import pytest

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.baselines import neurosurgeon
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Link, Problem
from tvm_split.plan.qdmp import plan_qdmp
from tvm_split.plan.sending import packed_elements
from tvm_split.plan.sweep import sweep

#: x -> a -> b, c -> d(b, c, x): a is read twice, the input once more at the end
SIZES = {"x": 1000, "a": 60, "b": 20, "c": 3, "d": 1}
READS = {"a": ("x",), "b": ("a",), "c": ("a",), "d": ("b", "c", "x")}
GRAPH = Graph(
    "fork",
    tuple(Tensor(name, (size,), "uint8" if name == "x" else "float32") for name, size in SIZES.items()),
    tuple(Layer(name, "op", reads, (name,)) for name, reads in READS.items()),
    ("x",),
    ("d",),
)


def problem(edge=1e-6, cloud=1e-7, **fields):
    each = {"edge": (1e-3, edge), "cloud": (1e-4, cloud)}
    costs = {side: Costs(side, "test", dict.fromkeys("abcd", s), {}, packs) for side, (s, packs) in each.items()}
    return Problem(GRAPH, costs["edge"], costs["cloud"], Link("link", 1e6, 1e6), **fields)


@pytest.mark.parametrize(("cut", "elements"), [("", 0), ("a", 60), ("ab", 80), ("abc", 23), ("abcd", 0)])
def test_each_crossing_tensor_is_packed_once_and_an_input_never(cut, elements):
    given = problem()
    free = problem(0.0, 0.0)
    assert packed_elements(GRAPH, GRAPH.crossing(cut)) == elements
    for priced, without in (
        (evaluate(given, cut, 8), evaluate(free, cut, 8)),
        (sweep(given, 8)[len(cut)], sweep(free, 8)[len(cut)]),
        *((evaluate_mixed(p, cut, Bits()), evaluate_mixed(f, cut, Bits())) for p, f in [quantising(given, free)]),
    ):
        now, before = (getattr(found, "predicted", None) or found.timing for found in (priced, without))
        assert now.edge_s - before.edge_s == pytest.approx(elements * 1e-6, abs=1e-15)
        assert now.cloud_s - before.cloud_s == pytest.approx(elements * 1e-7, abs=1e-15)
        assert (now.uplink_s, now.downlink_s) == (before.uplink_s, before.downlink_s)


def quantising(*problems):
    precision = Precision(widths=(8,), weight_matrix={}, weight_distortion={}, tensor_distortion={})
    return tuple(replace(given, precision=precision) for given in problems)


def test_a_result_wanted_in_the_cloud_is_packed():
    assert evaluate(problem(result_at="cloud"), "abcd", 8).predicted.edge_s == pytest.approx(4e-3 + 1e-6)


@pytest.mark.parametrize("name", sorted({*PLANNERS} - {"auto-split-paper"}))
@pytest.mark.parametrize("side", ["edge", "cloud"])
def test_packing_that_costs_much_moves_the_cut(name, side, make_chain):
    """After l1 16 elements cross and after l2 10, after which it is the layer that costs more."""
    given = make_chain((1000, 16, 10, 4), link=Link("fast", 1e6, 1e6))
    pinned = replace(given, pins={"l1": "edge", "l3": "cloud"})
    assert PLANNERS[name](pinned)[0].edge_layers == ("l1",)
    costs = replace(getattr(pinned, side), per_crossing_element_s=1e-3)
    assert PLANNERS[name](replace(pinned, **{side: costs}))[0].edge_layers == ("l1", "l2")


def test_neurosurgeon_of_the_paper_packs_only_what_its_last_layer_makes():
    """After b the paper counts b's 20 elements, and not a's 60; truly priced, its answer has them all."""
    given, *_ = quantising(problem(1e-4, 1e-4, pins={"a": "edge", "b": "edge", "d": "cloud"}))
    slow_c = replace(given.edge, layer_s={**given.edge.layer_s, "c": 1.0})
    found = neurosurgeon(replace(given, edge=slow_c))
    assert found.edge_layers == ("a", "b")
    assert found.predicted.edge_s == pytest.approx(2e-3 + 80 * 1e-4)
    # 20 * 2e-4 s after b and 3 * 2e-4 s after c: what c takes on the edge is between the two, and would not be if the
    # paper counted the 80 that cross after b
    between = replace(given.edge, layer_s={**given.edge.layer_s, "c": 5e-3})
    assert neurosurgeon(replace(given, edge=between)).edge_layers == ("a", "b")


def test_a_segment_is_not_ruled_out_by_what_packing_takes_at_its_ends():
    """x -> a -> (b -> c), e -> d(c, e): a and c are large, b and e small, and both of them before d is the best cut."""
    sizes = {"x": 10**5, "a": 900, "b": 2, "c": 300, "e": 2, "d": 1}
    reads = {"a": "x", "b": "a", "c": "b", "e": "a", "d": "ce"}
    graph = Graph(
        "segment",
        tuple(Tensor(name, (size,), "float32") for name, size in sizes.items()),
        tuple(Layer(name, "op", tuple(names), (name,)) for name, names in reads.items()),
        ("x",),
        ("d",),
    )
    each = dict.fromkeys(reads, 1e-4)
    edge, cloud = Costs("edge", "test", {**each, "d": 1.0}, {}, 1e-5), Costs("cloud", "test", each)
    found = plan_qdmp(Problem(graph, edge, cloud, Link("link", 1e6, 1e6)))[0]
    assert set(found.edge_layers) == {"a", "b", "e"}
