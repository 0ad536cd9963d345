"""Costs as JSON: what crosses is in it where it costs something, and what is no number is refused."""

import json

import pytest

from tvm_split.costs import Costs
from tvm_split.errors import CostError

PLAIN = Costs("pi", "test", {"a": 0.25}, {"machine": "mine"})


def test_what_crosses_is_in_the_json_where_it_costs_something():
    assert "per_crossing_element_s" not in PLAIN.to_json()
    packing = Costs("pi", "test", {"a": 0.25}, {}, 2e-9)
    assert packing.to_json()["per_crossing_element_s"] == 2e-9
    for costs in (PLAIN, packing):
        assert Costs.from_json(json.loads(json.dumps(costs.to_json()))) == costs
    assert packing.crossing_s(1000) == pytest.approx(2e-6)


@pytest.mark.parametrize("each", [-1e-9, float("nan"), float("inf"), "1e-9", None, True, [1]])
def test_seconds_of_an_element_are_a_finite_number_from_0(each):
    with pytest.raises(CostError, match=r"per_crossing_element_s on 'pi' is .*expected a number of seconds from 0"):
        Costs.from_json({**PLAIN.to_json(), "per_crossing_element_s": each})


@pytest.mark.parametrize("seconds", [True, "1", None, -1, float("nan")])
def test_seconds_of_a_layer_are_a_number_from_0(seconds):
    with pytest.raises(CostError, match=r"layer 'a' costs .* on 'pi'; a cost must be a number"):
        Costs.from_json({**PLAIN.to_json(), "layer_s": {"a": seconds}})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"version": True}, "these costs have version True"),
        ({"layer_s": [1]}, r"these costs: the field layer_s is \[1\]; expected dict"),
        ({"target": None}, "these costs: the field target is None; expected str"),
        ({"version": 7}, "these costs have version 7; this tvm-split reads version 1"),
    ],
)
def test_what_is_no_costs_is_told(changed, says):
    with pytest.raises(CostError, match=says):
        Costs.from_json({**PLAIN.to_json(), **changed})


@pytest.mark.parametrize("ends", [None, 1.0, "x", [1.0], [1.0, "2"], [-1.0, 2.0], [1.0, float("inf")], [True, 2.0]])
def test_an_interval_that_is_none_is_refused_with_its_layer(ends):
    data = Costs("t", "model", {"a": 1.0}, {"interval_s": {"a": [0.5, 2.0]}}).to_json()
    assert Costs.from_json(data).ends_of("a") == (0.5, 2.0)
    data["provenance"] = {"interval_s": {"a": ends}}
    with pytest.raises(CostError, match="interval_s of layer 'a'"):
        Costs.from_json(data)
    with pytest.raises(CostError, match="interval_s of these costs is"):
        Costs.from_json({**data, "provenance": {"interval_s": 3}})
