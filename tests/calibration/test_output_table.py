"""The table as planners and reports use it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.calibration.output_error import OutputError
from tvm_split.calibration.output_table import UNUSABLE, OutputTable, predicted_agreement
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Candidate, Crossing, Timing


def error(agreeing=8, kl=0.0, square=0.0):
    return OutputError(8, (square,), (2.0,), kl, agreeing)


TABLE = OutputTable(
    weights={"a": {4: error(6, 8.0, 1.0), 8: error(8, 0.8, 0.5)}, "b": {4: error(7, math.inf, math.inf), 8: error()}},
    tensors={"a": {2: error(4, 16.0), 4: error(7, 1.6), 8: error(8, 0.08)}},
)


def candidate(weights=None, tensors=None, crossing=(), codec="packed"):
    parts = tuple(Crossing(name, (1,), bits, 1, codec) for name, bits in crossing)
    return Candidate("split", ("a", "b"), parts, 0, Timing(0, 0, 0, 0), weights or {}, tensors or {})


def test_distortions_are_the_divergence_and_zero_at_the_reference():
    assert TABLE.weight_distortions([4, 8, 16]) == {"a": {4: 1.0, 8: 0.1, 16: 0.0}, "b": {4: UNUSABLE, 8: 0.0, 16: 0.0}}
    assert TABLE.tensor_distortions([8]) == {"a": {8: pytest.approx(0.01)}}
    assert TABLE.weight_distortions([4], "mse")["a"] == {4: 0.5}


def test_networks_without_scores_have_squared_errors():
    table = OutputTable({"a": {8: replace(error(square=3.0), kl=None, agreeing=None)}}, {})
    assert table.measure == "mse"
    assert table.weight_distortions([8]) == {"a": {8: 1.5}}
    with pytest.raises(ValueError, match="no KL divergence"):
        table.weight_distortions([8], "kl")
    assert predicted_agreement(table, candidate({"a": 8})) is None


def test_planners_take_the_distortions():
    matrix = {"a": (1, 1), "b": (1, 1)}
    for widths in ((8, 16, 32), (4, 32)):
        below = widths[:-1]
        found = Precision(widths, matrix, TABLE.weight_distortions(below), TABLE.tensor_distortions(below))
        assert found.of_weights("a", below[0]) == TABLE.weights["a"][below[0]].mean_kl


def test_single_losses_add_up():
    assert predicted_agreement(TABLE, candidate()) == 1.0
    assert predicted_agreement(TABLE, candidate({"a": 4, "b": 4})) == 1 - 2 / 8 - 1 / 8
    assert predicted_agreement(TABLE, candidate({"a": 8, "b": 16}, {"a": 8})) == 1.0


def test_a_tensor_counts_once_at_its_narrowest():
    assert predicted_agreement(TABLE, candidate(tensors={"a": 8}, crossing=[("a", 4)])) == 1 - 1 / 8
    assert predicted_agreement(TABLE, candidate(tensors={"a": 2}, crossing=[("a", 4)])) == 1 - 4 / 8


def test_what_is_sent_as_it_is_loses_nothing():
    assert predicted_agreement(TABLE, candidate(crossing=[("a", 32), ("x", 8)])) == 1.0
    assert predicted_agreement(TABLE, candidate(crossing=[("a", 2)], codec="jpeg")) == 1.0


def test_the_metric_is_never_below_zero():
    assert predicted_agreement(TABLE, candidate({"a": 4}), 0.75) == 0.5
    assert predicted_agreement(TABLE, candidate({"a": 4}), 0.1) == 0.0


def test_a_width_that_was_not_measured_is_an_error():
    with pytest.raises(KeyError):
        predicted_agreement(TABLE, candidate({"a": 3}))


@given(st.dictionaries(st.sampled_from("ab"), st.sampled_from([4, 8, 16])), st.sampled_from([2, 4, 8]), st.floats(0, 1))
def test_more_bits_never_predict_less(weights, bits, metric):
    wider = {name: max(8, width) for name, width in weights.items()}
    narrow = predicted_agreement(TABLE, candidate(weights, {"a": bits}), metric)
    assert narrow <= predicted_agreement(TABLE, candidate(wider, {"a": 8}), metric) <= metric
