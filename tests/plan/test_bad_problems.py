"""What planners refuse, and what they say."""

import re
from dataclasses import replace

import pytest

from tvm_split.costs import Costs
from tvm_split.errors import CostError, PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.exhaustive import plan_exhaustive
from tvm_split.plan.memory import few_cuts, smallest_split_bytes
from tvm_split.plan.problem import Link, Problem

NAMES = sorted(PLANNERS)


def wide(branches):
    """Parallel layers between an input and a join: 2 ** branches cuts and more."""
    tensors = tuple(Tensor(name, (4,), "uint8") for name in ("x", *(f"b{i}" for i in range(branches)), "y"))
    layers = [Layer(f"l{i}", "op", ("x",), (f"b{i}",), 0, 10) for i in range(branches)]
    layers.append(Layer("join", "op", tuple(f"b{i}" for i in range(branches)), ("y",), 0, 10))
    costs = Costs("any", "test", {layer.name: 1e-3 for layer in layers})
    return Problem(Graph("wide", tensors, tuple(layers), ("x",), ("y",)), costs, costs, Link("link", 1e6, 1e6))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cut_bits": ()}, "cut_bits is empty; give at least one width"),
        ({"cut_bits": (8, 9)}, "a crossing tensor cannot have 9 bits; the widths are 1, 2, 3, 4, 5, 6, 7, 8, 16, 32"),
        ({"tensor_bits": {"t1": 0}}, "a crossing tensor cannot have 0 bits"),
        ({"tensor_bits": {"q*": 8}}, "'q*' in --bits (tensor_bits) matches no layer and no tensor; the first are t0, "),
        ({"tensor_bits": {"tt2*": 8}}, "did you mean t2? there are 4, and `tvm-split layers MODEL` lists them"),
        ({"pins": {"l1": "fog"}}, "pin 'l1=fog' names no side; write 'l1=edge' or 'l1=cloud'"),
        ({"pins": {"q*": "edge"}}, "pin 'q*=edge' (--pin, pins) matches no layer; the first are l1, l2, l3; "),
        ({"pins": {"L2": "edge"}}, "did you mean l2? there are 3, and `tvm-split layers MODEL` lists them"),
    ],
)
def test_problem_refuses(fields, message, make_chain):
    with pytest.raises(PlanError, match=re.escape(message)):
        make_chain(**fields)


def test_a_missing_cost_is_an_error(make_chain):
    with pytest.raises(CostError, match="no cost of layer 'l3' on 'edge'"):
        make_chain(edge=Costs("edge", "test", {"l1": 1.0, "l2": 1.0}))


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_link_needs_a_rate(rate):
    with pytest.raises(PlanError, match="rates must be positive"):
        Link("dead", rate, 1e6)


@pytest.mark.parametrize("name", NAMES)
def test_one_layer_pinned_to_both_sides(name, make_chain):
    problem = make_chain(pins={"l1": "edge", "l?": "cloud"})
    with pytest.raises(PlanError, match="layer 'l1' is pinned to the edge and to the cloud"):
        PLANNERS[name](problem)


@pytest.mark.parametrize("name", NAMES)
def test_pins_that_contradict_name_both_layers(name, make_chain):
    problem = make_chain(pins={"l1": "cloud", "l3": "edge"})
    with pytest.raises(PlanError, match=r"layer 'l1' is pinned to the cloud, but layer 'l3', .* needs its result"):
        PLANNERS[name](problem)


def test_pins_force_what_they_need_and_what_needs_them(make_chain):
    assert forced_sides(make_chain(pins={"l2": "edge"})) == ({"l1", "l2"}, set())
    assert forced_sides(make_chain(pins={"l2": "cloud"})) == (set(), {"l2", "l3"})


@pytest.mark.parametrize("name", NAMES)
def test_too_little_memory_leaves_cloud_only(name, make_chain):
    found = PLANNERS[name](make_chain(memory_bytes=1))
    assert [candidate.kind for candidate in found] == ["cloud-only"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "auto-split-paper"])  # its memory is another
def test_too_little_memory_for_the_pins_says_how_much_would_do(name, make_chain):
    """l1: 1000 weight bytes, 100 of input, and 80 that are their own payload."""
    problem = make_chain(memory_bytes=1179, pins={"l1": "edge"})
    with pytest.raises(
        PlanError, match=r"fits in memory_bytes=1179 .--memory., .* 1180 bytes .* would do: raise memory_bytes"
    ):
        PLANNERS[name](problem)
    assert PLANNERS[name](replace(problem, memory_bytes=1180))[0].edge_layers == ("l1",)
    assert smallest_split_bytes(problem) == 1180


def test_smallest_split_of_a_graph_with_many_cuts():
    problem = wide(15)
    assert few_cuts(problem) is None
    needed = 10 + (4 + 4) + (4 + 4) + (4 + 4)  # weights, input and b0, payload, and each tensor's bytes in pack
    assert smallest_split_bytes(problem) == needed
    assert smallest_split_bytes(replace(problem, pins={"l14": "edge"})) == needed
    assert smallest_split_bytes(replace(problem, pins={"l0": "cloud", "l14": "edge"})) == needed


def test_nothing_may_run_on_the_edge(make_chain):
    with pytest.raises(PlanError, match="graph 'chain' has no layer that may run on the edge"):
        smallest_split_bytes(make_chain(pins={"l1": "cloud"}))


def test_exhaustive_gives_up_and_names_the_way_out():
    with pytest.raises(PlanError, match=r"'wide' \(17 layers\) has more than 50000 legal cuts.*plan with min-cut"):
        plan_exhaustive(wide(16))
    assert len(plan_exhaustive(wide(4))) == 2**4 + 1


@pytest.mark.parametrize("name", ["auto-split", "neurosurgeon"])
def test_prefix_planners_say_that_no_prefix_honours_the_pins(name):
    problem = replace(wide(3), pins={"l0": "cloud", "l2": "edge"})
    with pytest.raises(PlanError, match="no prefix of the layers' order has 'l2' on the edge and 'l0' in the cloud"):
        PLANNERS[name](problem)
    assert "l2" in PLANNERS["min-cut"](problem)[0].edge_layers


def test_auto_split_says_that_every_allowed_split_sends_too_much(make_chain):
    problem = make_chain((10, 50, 60), pins={"l1": "edge", "l2": "cloud"})
    with pytest.raises(PlanError, match=r"sends at least 50 bytes, more than the network input's 10, .*\(eq\. 6\)"):
        PLANNERS["auto-split"](problem)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_layers(name):
    graph = Graph("nothing", (Tensor("x", (4,), "uint8"),), (), ("x",), ("x",))
    costs = Costs("any", "test", {})
    assert PLANNERS[name](Problem(graph, costs, costs, Link("link", 1, 1)))[0].predicted.total_s == 0
