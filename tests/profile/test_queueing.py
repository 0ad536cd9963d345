"""Waiting for a cloud that is busy with others: known answers, and plans that follow."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.costs import Costs
from tvm_split.errors import CostError, PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.exhaustive import plan_exhaustive
from tvm_split.plan.problem import Link, Problem
from tvm_split.profile.queueing import LOAD, under_load, waiting_factor, without_load
from tvm_split.request import Request

CLOUD = Costs("c5.xlarge", "test", {"a": 0.25, "b": 0.5}, {"machine": "mine"}, 1e-8)


@pytest.mark.parametrize(("load", "factor"), [(0, 1), (0.5, 1.5), (0.8, 3), (0.9, 5.5), (2 / 3, 2)])
def test_known_answers(load, factor):
    """M/D/1: the mean waiting is load / (2 (1 - load)) service times."""
    assert waiting_factor(load) == pytest.approx(factor)


def test_the_waiting_is_that_of_a_simulated_queue():
    """Poisson arrivals at 0.7 a service time, one server, first come first served: waits of 300,000 requests."""
    draw, free, now, waits = random.Random(0), 0.0, 0.0, []
    for _ in range(300_000):
        now += draw.expovariate(0.7)
        waits.append(max(free - now, 0.0))
        free = max(free, now) + 1.0
    assert 1 + sum(waits) / len(waits) == pytest.approx(waiting_factor(0.7), rel=0.03)


@pytest.mark.parametrize("load", [1, 1.5, -0.1, float("nan"), float("inf")])
def test_a_load_that_is_none(load):
    with pytest.raises(CostError, match=r"load \(--cloud-load\) is .*expected the share of time"):
        waiting_factor(load)
    with pytest.raises(PlanError, match=r"cloud_load is .*expected a share of time from 0 to less than 1"):
        Request("m.onnx", cloud_load=load)


@pytest.mark.parametrize("load", ["0.5", None, True])
def test_a_load_that_is_no_number(load):
    with pytest.raises(PlanError, match="cloud_load is"):
        Request("m.onnx", cloud_load=load)


def test_every_layer_is_scaled_and_the_provenance_says_so():
    found = under_load(CLOUD, 0.5)
    assert dict(found.layer_s) == {"a": 0.375, "b": 0.75}
    assert found.per_crossing_element_s == pytest.approx(1.5e-8)
    assert found.provenance == {"machine": "mine", LOAD: {"load": 0.5, "factor": 1.5, "service_s": 0.75}}
    assert (found.target, found.source) == (CLOUD.target, CLOUD.source)
    assert Costs.from_json(found.to_json()) == found
    assert under_load(CLOUD, 0) is CLOUD and without_load(CLOUD) is CLOUD


@given(st.floats(0, 0.999))
def test_the_load_can_be_taken_out_again(load):
    back = without_load(under_load(CLOUD, load))
    assert back.layer_s == pytest.approx(CLOUD.layer_s) and back.provenance == CLOUD.provenance
    assert back.per_crossing_element_s == pytest.approx(CLOUD.per_crossing_element_s)


def test_a_load_is_not_counted_twice():
    with pytest.raises(CostError, match=r"'c5\.xlarge' have a load of .*in them already; leave --cloud-load out"):
        under_load(under_load(CLOUD, 0.5), 0.5)


def problem(load: float) -> Problem:
    """Three layers of 2, 3 and 5 ms on the edge and 1 ms each in the cloud; each tensor takes 0.5 ms less to send."""
    sizes = (20, 15, 10, 5)
    tensors = tuple(Tensor(f"t{i}", (size,), "uint8") for i, size in enumerate(sizes))
    layers = tuple(Layer(f"l{i}", "op", (f"t{i - 1}",), (f"t{i}",)) for i in (1, 2, 3))
    edge = Costs("edge", "test", {"l1": 2e-3, "l2": 3e-3, "l3": 5e-3})
    cloud = Costs("cloud", "test", {"l1": 1e-3, "l2": 1e-3, "l3": 1e-3}, {}, 1e-6)
    graph = Graph("three", tensors, layers, ("t0",), ("t3",))
    return Problem(graph, edge, under_load(cloud, load), Link("l", 1e4, 1e9))


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_layers_move_to_the_edge_as_the_load_grows(name):
    """A layer moves once its edge time is below its cloud time with waiting and what sending less saves."""
    edges = [len(PLANNERS[name](problem(load))[0].edge_layers) for load in (0, 0.6, 0.8, 0.95)]
    assert edges == [0, 1, 2, 3]


def test_an_answer_waits_for_its_own_time_and_one_without_a_cloud_does_not():
    for cut in ((), ("l1",), ("l1", "l2"), ("l1", "l2", "l3")):
        idle, busy = evaluate(problem(0), cut, 8).predicted, evaluate(problem(0.5), cut, 8).predicted
        assert busy.cloud_s == pytest.approx(1.5 * idle.cloud_s)
        assert replace(busy, cloud_s=0.0) == replace(idle, cloud_s=0.0)


@pytest.mark.parametrize("load", [0.3, 0.9])
def test_the_exact_planner_stays_exact(load):
    assert PLANNERS["exact"](problem(load))[0].predicted.total_s == pytest.approx(
        plan_exhaustive(problem(load))[0].predicted.total_s
    )
