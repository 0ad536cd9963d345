"""What is said beside a plan's figures: of few samples, and of widths that reach no tensor."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.accuracy import Accuracy
from tvm_split.cautions import DOUBT, FINEST, enough, few_samples, fixed_widths
from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.problem import Candidate, Crossing, Link, Problem, Timing


def lossy(samples: int, agreement: float | None = 1.0) -> Accuracy:
    return Accuracy(samples, agreement, 0.5, 0.1, 0.02)


@given(st.floats(0, 1))
def test_enough_is_the_least_number_of_samples_that_tells(agreement: float) -> None:
    count, share = enough(agreement), min(agreement, 1 - FINEST)
    assert share**count <= DOUBT * (1 + 1e-9)
    assert count == 1 or share ** (count - 1) > DOUBT * (1 - 1e-9)


def test_agreement_on_few_samples_is_told_with_what_it_proves_and_how_many_would_do() -> None:
    exact = Accuracy(1, 1.0, 0.0, 0.0, 0.0)
    (said,) = few_samples([None, exact, lossy(1)], 0.95)
    assert said == (
        "Accuracy was measured on 1 sample; a split that agrees on all of them may agree on 5% of other frames only "
        "(95% sure). Give 59 or more (--data, --samples 59)."
    )
    assert "on 8 samples" in few_samples([lossy(8)], 0.95)[0] and "69%" in few_samples([lossy(8)], 0.95)[0]
    assert few_samples([lossy(59)], 0.95) == [] != few_samples([lossy(58)], 0.95)


def test_errors_of_outputs_need_what_calibration_needs() -> None:
    (said,) = few_samples([lossy(1, None)], 0.95)
    assert "other frames may leave these" in said and "Give 16 or more" in said
    assert few_samples([lossy(16, None)], 0.95) == []


@pytest.mark.parametrize("accuracies", [[], [None], [Accuracy(1, 1.0, 0.0, 0.0, 0.0)]])
def test_nothing_is_said_where_no_answer_loses_any(accuracies: list[Accuracy | None]) -> None:
    assert few_samples(accuracies, 0.95) == []


NAMES = ("x", "a", "b", "c", "d", "e")
DTYPES = ("int32", "uint8", "float32", "int64", "int8", "int16")


@pytest.fixture
def problem() -> Problem:
    tensors = tuple(Tensor(name, (4,), dtype) for name, dtype in zip(NAMES, DTYPES, strict=True))
    layers = tuple(Layer(name, "op", (before,), (name,)) for before, name in pairwise(NAMES))
    costs = Costs("t", "roofline", dict.fromkeys(NAMES[1:], 0.1))
    return Problem(Graph("net", tensors, layers, ("x",), ("e",)), costs, costs, Link("l", 1.0, 1.0, 0.0), (2, 8))


def split(*crossing: str) -> Candidate:
    parts = tuple(Crossing(name, (4,), 8, 4) for name in crossing)
    return Candidate("split", ("a",), parts, 0, Timing(0.0, 0.0, 0.0, 0.0))


def test_integers_that_no_width_reaches_are_named_once(problem: Problem) -> None:
    (said,) = fixed_widths(problem, [split("x", "a"), split("a", "b"), split("c"), split("d"), split("e")])
    assert said.startswith("'a' (uint8), 'c' (int64), 'd' (int8) and 1 more: tensors of integers cross as they are; ")
    assert "--cut-bits" in said


def test_nothing_is_said_where_every_width_given_is_as_wide_or_no_split_sends_integers(problem: Problem) -> None:
    assert fixed_widths(problem, [split("x", "b")]) == []
    assert fixed_widths(problem, [replace(split("a"), kind="cloud-only")]) == []
    assert fixed_widths(replace(problem, cut_bits=(8,)), [split("a", "d")]) == []
    assert len(fixed_widths(replace(problem, cut_bits=(8,), tensor_bits={"a": 4}), [split("a")])) == 1
