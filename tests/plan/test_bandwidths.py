"""Turning points against planning at many rates."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tvm_split.errors import PlanError
from tvm_split.plan.bandwidths import turning_points
from tvm_split.plan.exhaustive import plan_exhaustive
from tvm_split.plan.min_cut import plan_min_cut
from tvm_split.plan.neurosurgeon import plan_neurosurgeon


def test_a_chain_by_hand(make_chain):
    """Fixed seconds and bytes: cloud-only 0.34 ms + 100 B, l1 1.24 ms + 80 B, l2 2.14 ms + 10 B, edge-only 3 ms + 0."""
    spans = turning_points(make_chain(), plan_exhaustive, (1e3, 1e6))
    assert [len(span.candidate.edge_layers) for span in spans] == [3, 2, 0]
    assert [span.low_bytes_per_s for span in spans] == pytest.approx([1e3, 10 / 0.86e-3, 90 / 1.8e-3])
    assert [span.high_bytes_per_s for span in spans] == pytest.approx([10 / 0.86e-3, 90 / 1.8e-3, 1e6])
    assert spans[1].total_s(2e4) == pytest.approx(2.14e-3 + 10 / 2e4)
    assert spans[1].candidate.predicted.uplink_s == 10 / 1e4


@pytest.mark.parametrize("planner", [plan_min_cut, plan_neurosurgeon])
def test_spans_equal_planning_at_each_rate(planner, make_problem):
    turns = 0
    for seed in range(60):
        problem = replace(make_problem(seed), pins={})
        spans = turning_points(problem, planner, (1e4, 1e9))
        turns += len(spans) - 1
        assert spans[0].low_bytes_per_s == 1e4 and spans[-1].high_bytes_per_s == 1e9
        for left, right in pairwise(spans):
            assert left.high_bytes_per_s == right.low_bytes_per_s
            assert left.candidate.payload_bytes < right.candidate.payload_bytes
            assert left.total_s(right.low_bytes_per_s) == pytest.approx(right.total_s(right.low_bytes_per_s))
        for rate in (10 ** (4 + i / 4) for i in range(21)):
            span = next(span for span in spans if rate <= span.high_bytes_per_s * (1 + 1e-12))
            best = planner(problem.with_link(replace(problem.link, up_bytes_per_s=rate)))[0]
            assert span.total_s(rate) == pytest.approx(best.predicted.total_s, rel=1e-9), f"seed {seed}, rate {rate}"
    assert turns > 30


@pytest.mark.parametrize("rates", [(), (1e6,), (1e6, 1e6), (0, 1e6)])
def test_rates_must_be_two(rates, make_chain):
    with pytest.raises(PlanError, match="give at least two different positive rates"):
        turning_points(make_chain(), plan_min_cut, rates)
