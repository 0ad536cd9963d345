"""Auto-Split's Algorithm 1 with bits: against the exact planner, against its equations, and by hand."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.auto_split import plan_auto_split
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Link, Problem
from tvm_split.plan.shoham_gersho import allocate, hull_steps


@pytest.fixture
def chain():
    """Three convolutions after a frame of 3000 bytes: 1000, 400, 100 weights; 800, 200, 10 elements."""
    sizes, weights = (800, 200, 10), (1000, 400, 100)
    names = ("a", "b", "c")
    tensors = (Tensor("x", (3000,), "uint8"), *(Tensor(n, (s,), "float32") for n, s in zip(names, sizes, strict=True)))
    reads = ("x", "a", "b")
    layers = tuple(Layer(n, "conv2d", (r,), (n,), 0, 4 * w) for n, r, w in zip(names, reads, weights, strict=True))
    table = {2: 1.0, 4: 0.1, 8: 0.001}
    precision = Precision(
        widths=(2, 4, 8),
        weight_matrix={n: (1, w) for n, w in zip(names, weights, strict=True)},
        weight_distortion=dict.fromkeys(names, table),
        tensor_distortion=dict.fromkeys(names, table),
    )
    return Problem(
        Graph("three", tensors, layers, ("x",), ("c",)),
        Costs("edge", "test", dict.fromkeys(names, 1e-3)),
        Costs("cloud", "test", dict.fromkeys(names, 1e-4)),
        Link("link", 1e5, 1e6),
        cut_bits=(2, 4, 8),
        precision=precision,
    )


def test_every_solution_is_of_algorithm_1(chain):
    """Memory of 5a and distortion of 5b by hand; fact 6: at most 1 + |P| |B|^2 solutions; facts 1 and 8: the list."""
    limited = replace(chain, memory_bytes=1100, precision=replace(chain.precision, max_distortion=3.5))
    found = plan_auto_split(limited, paper_memory=True, paper_cuts=True)
    assert any(candidate.kind == "cloud-only" for candidate in found)
    assert len(found) <= 1 + 3 * 9
    elements, weights = {"a": 800, "b": 200, "c": 10}, {"a": 1000, "b": 400, "c": 100}
    for candidate in found:
        bits = [weights[n] * candidate.weight_bits[n] for n in candidate.edge_layers]
        made = [elements[n] * candidate.tensor_bits.get(n, 32) for n in candidate.edge_layers]
        packed = sum(-(-size // 8) for size in bits)
        assert candidate.edge_memory_bytes == packed + -(-max(made, default=0) // 8)
        assert not candidate.edge_layers or candidate.edge_memory_bytes <= 1100
        assert candidate.distortion <= 3.5
    widths = {tuple(candidate.weight_bits.values()) for candidate in found if len(candidate.edge_layers) == 2}
    assert len(widths) > 1, "several budgets, several solutions"


def test_cloud_only_and_edge_only_are_in_the_same_search(chain):
    """Fact 1: n = 0 and n = N; without the constant (the cloud's time for all layers) the order is the same."""
    found = plan_auto_split(chain, paper_memory=True, paper_cuts=True)
    assert {candidate.kind for candidate in found} == {"cloud-only", "split", "edge-only"}
    assert {len(candidate.edge_layers) for candidate in found} == {0, 1, 2, 3}
    saved = [c.predicted.total_s - c.predicted.cloud_s - 1e-4 * len(c.edge_layers) for c in found]
    assert saved == sorted(saved)
    for candidate, less in zip(found, saved, strict=True):
        assert candidate.predicted.total_s == pytest.approx(less + 3e-4)


@pytest.mark.parametrize(("memory", "most"), [(350 + 200, 2), (375 + 200, 3), (375 + 199, 2), (350 + 199, 1), (449, 0)])
def test_a_cut_must_fit_at_the_narrowest_width(chain, memory, most):
    """Fact 5: at 2 bits the weights take 250, 350 and 375 bytes,, the largest tensor 200."""
    found = plan_auto_split(replace(chain, memory_bytes=memory), paper_memory=True, paper_cuts=True)
    assert max(len(candidate.edge_layers) for candidate in found) == most


def test_budgets_are_those_of_each_cut(chain):
    """A budget of the largest tensor: 800 elements at 2 bits leave 200 elements 8, and 10 elements 8."""
    found = plan_auto_split(chain, paper_memory=True, paper_cuts=True)
    assert {tuple(c.tensor_bits.values()) for c in found if c.edge_layers == ("a",)} == {(2,), (4,), (8,)}
    assert {tuple(c.tensor_bits.values()) for c in found if c.edge_layers == ("a", "b")} == {(2, 8), (4, 8), (8, 8)}


def test_real_memory_holds_a_tensor_at_the_widest_that_takes_no_more(chain):
    for candidate in plan_auto_split(chain):
        assert set(candidate.tensor_bits.values()) <= {8}
    sent = {part.bits for candidate in plan_auto_split(chain) for part in candidate.crossing if part.tensor == "a"}
    assert sent == {2, 4, 8}


def test_cuts_that_send_more_than_the_input_are_no_candidates(chain):
    """Eq. 6: 800 elements at 2 bits are 200 bytes, more than a frame of 150."""
    tensors = (replace(chain.graph.tensors[0], shape=(150,)), *chain.graph.tensors[1:])
    small = replace(chain, graph=replace(chain.graph, tensors=tensors))
    assert {c.edge_layers for c in plan_auto_split(small, paper_cuts=True)} == {(), ("a", "b"), ("a", "b", "c")}
    with pytest.raises(PlanError, match=r"auto-split tries none of these \(eq. 6\)"):
        plan_auto_split(replace(small, pins={"a": "edge", "b": "cloud"}))


def test_exact_is_never_later_than_auto_split(make_mixed):
    answers = 0
    for seed in range(300):
        problem = make_mixed(seed, 8)
        try:
            free = plan_auto_split(problem)
        except PlanError:
            continue
        sizes = sorted(candidate.edge_memory_bytes for candidate in free)
        losses = sorted(candidate.distortion for candidate in free)
        precision = replace(problem.precision, max_distortion=losses[seed * 7 % len(losses)])
        problem = replace(problem, memory_bytes=sizes[seed * 5 % len(sizes)], precision=precision)
        try:
            found = plan_auto_split(problem)
        except PlanError as error:
            assert "would do" in str(error)
            continue
        for candidate in found:
            assert candidate.distortion <= precision.max_distortion * (1 + 1e-9)
            assert not candidate.edge_layers or candidate.edge_memory_bytes <= problem.memory_bytes
        best = plan_exact(problem)[0]
        assert best.predicted.total_s <= found[0].predicted.total_s * (1 + 1e-7), f"seed {seed}"
        assert best.predicted.total_s * (1 - best.gap) <= found[0].predicted.total_s
        answers += 1
    assert answers > 200


POINTS = st.lists(
    st.dictionaries(st.sampled_from((2, 3, 4, 6, 8)), st.floats(0, 100), min_size=1), min_size=1, max_size=5
)


@given(tables=POINTS, sizes=st.lists(st.integers(1, 50), min_size=5, max_size=5), share=st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_the_lagrangian_is_within_one_step_of_the_best(tables, sizes, share):
    """Shoham and Gersho's bound: what the hull misses is less than what its next step would gain."""
    parts = {f"p{i}": [(b, sizes[i] * b, d) for b, d in table.items()] for i, table in enumerate(tables)}
    start, steps = {}, []
    for part, points in parts.items():
        start[part], own = hull_steps(part, points)
        assert [step.slope for step in own] == sorted((step.slope for step in own), reverse=True)
        steps += own
    steps.sort(key=lambda step: -step.slope)
    by_bits = {part: {b: (cost, d) for b, cost, d in points} for part, points in parts.items()}
    least = sum(by_bits[part][bits][0] for part, bits in start.items())
    most = sum(max(cost for cost, _ in points.values()) for points in by_bits.values())
    budget = int(least + share * (most - least))
    chosen = allocate(start, steps, parts, budget - least)
    cost = sum(by_bits[part][bits][0] for part, bits in chosen.items())
    loss = sum(by_bits[part][bits][1] for part, bits in chosen.items())
    assert cost <= budget
    every = [
        sum(point[2] for point in choice)
        for choice in itertools.product(*parts.values())
        if sum(point[1] for point in choice) <= budget
    ]
    left = [step for step in steps if step.bits not in _passed(start, steps, chosen, step.part)]
    gain = max((step.slope * step.cost for step in left), default=0.0)
    assert loss <= min(every) + gain + 1e-9


def _passed(start, steps, chosen, part):
    """Corners of the part up to the one chosen."""
    corners = [start[part], *(step.bits for step in steps if step.part == part)]
    return set(corners[: corners.index(chosen[part]) + 1])
