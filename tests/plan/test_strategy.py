"""What a request asks of its planner, and what is refused."""

from dataclasses import replace

import pytest

from tvm_split import strategy
from tvm_split.choice import Scored, Tolerance, choose
from tvm_split.errors import CostError, PlanError
from tvm_split.labels import label_of
from tvm_split.plan import PLANNERS
from tvm_split.plan.bandwidths import turning_points
from tvm_split.plan.evaluate import evaluate
from tvm_split.request import Request
from tvm_split.targets import load_link, load_target


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "magic"}, "there is no planner 'magic'; the planners are auto-split"),
        (
            {"strategy": "qdmp", "edge_bits": (8,)},
            "'qdmp' chooses no bits, but edge_bits .--edge-bits. is .8,.; plan with exact",
        ),
        ({"strategy": "auto-split", "objective": "payload"}, "knows no objective but latency; plan for payload"),
        ({"pareto": "distortion"}, "needs bits to choose on the edge; give edge_bits"),
    ],
)
def test_what_a_planner_cannot_do_is_refused(options, message):
    with pytest.raises(PlanError, match=message):
        strategy.check(Request("m.onnx", **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_bytes": 0}, r"memory_bytes \(--memory\) is 0; expected bytes"),
        ({"edge_bits": (5,)}, r"edge_bits \(--edge-bits\) is \(5,\); expected"),
        ({"tensor_bits": {"a": 0}}, r"tensor_bits \(--bits\) is \{'a': 0\}; expected"),
    ],
)
def test_a_wrong_value_names_the_option_as_well(options, message):
    with pytest.raises(PlanError, match=message):
        Request("m.onnx", **options)


@pytest.mark.parametrize("options", [{"objective": "speed"}, {"pareto": "latency"}])
def test_a_wrong_word_names_the_field(options):
    (name,) = options
    with pytest.raises(PlanError, match=f"{name} is '.*; expected"):
        Request("m.onnx", **options)


def test_energy_needs_the_power_of_target_and_link():
    request = Request("m.onnx", objective="energy")
    edge = load_target("jetson-nano")
    with pytest.raises(CostError, match=r"target 'jetson-nano' has no active_w.*add active_w = WATTS"):
        strategy.check_power(request, edge, load_link("4g"))
    measured = load_target("raspberry-pi-4")
    with pytest.raises(CostError, match=r"link '5g' has no up_w and down_w.*3g, 4g, wifi"):
        strategy.check_power(request, measured, load_link("5g"))
    strategy.check_power(request, measured, load_link("4g"))
    strategy.check_power(Request("m.onnx"), edge, load_link("5g"))


def test_each_objective_chooses_its_own_answer(make_chain):
    """l1 to l3 take 1 ms and 5 W each; the radio takes next to nothing, so to send the frame needs least energy."""
    radio = {"up_w": 0.0001, "down_w": 0.0001}
    problem = make_chain()
    problem = problem.with_link(replace(problem.link, up_bytes_per_s=5000.0, **radio))
    edge = replace(load_target("raspberry-pi-4"), active_w=5.0)
    chosen = {}
    for objective in ("latency", "energy", "payload"):
        request = Request("m.onnx", objective=objective)
        found = strategy.planner_of(request, edge)(problem)
        scored = [Scored(candidate, label_of(candidate)) for candidate in found]
        cost = strategy.cost_of(request, problem, edge)
        chosen[objective] = choose(scored, Tolerance(), cost).candidate.edge_layers
        every = [evaluate(problem, cut, 8) for cut in ((), ("l1",), ("l1", "l2"), ("l1", "l2", "l3"))]
        assert cost(found[0]) == min(map(cost, every))
    assert chosen == {"latency": ("l1", "l2", "l3"), "energy": (), "payload": ("l1", "l2", "l3")}


def test_the_exact_planner_is_not_asked_at_other_rates(make_problem, monkeypatch):
    """Its shortlist holds its answer and the sweeper's, and is never later than the sweeper's own."""
    exact, asked = PLANNERS["exact"], []
    monkeypatch.setitem(PLANNERS, "exact", asked.append)
    for seed in range(60):
        problem = make_problem(seed)
        planned = exact(problem)
        found = strategy.splits_of(Request("m.onnx"), problem, planned)
        assert not asked
        best = next((c for c in planned if c.kind == "split"), None)
        assert best is None or best in found
        try:
            spans = turning_points(problem, PLANNERS["auto-split"], (6_250.0, 125_000_000.0))
        except PlanError:
            continue
        for span in spans:
            assert span.candidate.kind != "split" or span.candidate.edge_layers in {c.edge_layers for c in found}


def test_lists_that_nobody_asked_for_are_empty(make_chain):
    problem, request = make_chain(), Request("m.onnx")
    planned = PLANNERS["exact"](problem)
    assert strategy.front_of(request, problem) == ((), True)
    assert strategy.solutions_of(request, planned) == ()
    every = strategy.solutions_of(replace(request, every_solution=True), planned)
    assert [item.candidate for item in every] == list(planned)
    front, is_whole = strategy.front_of(replace(request, pareto="memory"), replace(problem, pins={"l1": "edge"}))
    sizes = [item.candidate.edge_memory_bytes for item in front]
    times = [item.candidate.predicted.total_s for item in front]
    assert is_whole and len(front) >= 2 and sizes == sorted(sizes, reverse=True) and times == sorted(times)
