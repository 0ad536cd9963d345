"""What is said beside a plan's figures: of few samples, and of widths that reach no tensor."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tvm_split.accuracy import Accuracy
from tvm_split.calibration.ranges import Choice
from tvm_split.cautions import constants, few_samples, fixed_widths, unfit_labels, without_classes
from tvm_split.choice import Scored
from tvm_split.costs import Costs
from tvm_split.drop import Drop, drop_of, samples_needed
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.problem import Candidate, Crossing, Link, Problem, Timing
from tvm_split.quantised import Quantised
from tvm_split.quantizer import Quantizer


def item(drop: Drop | None, label: str = "split", error: float = 0.5) -> Scored:
    return Scored(split("a"), label, Accuracy(4, None, error, 0.1, 0.02, drop))


def drop(samples: int, lost: int = 0) -> Drop:
    return drop_of("top1", [1] * samples, [0] * lost + [1] * (samples - lost))


def test_an_interval_wider_than_the_drop_allowed_is_told_with_the_samples_that_would_do() -> None:
    chosen = item(drop(8))
    needed = samples_needed(drop(8), 0.05)
    assert few_samples([chosen], chosen, 0.05, 16) == [
        "The drop of 'split' in top1 is between -32.4 % and 32.4 % (95% sure) on the 8 samples checked, wider than the "
        f"5 % that may be lost; about {needed} samples (--check {needed}) would make it as narrow."
    ]
    enough = item(drop(needed))
    assert few_samples([enough], enough, 0.05, 16) == []
    assert "no number of samples makes it as narrow" in few_samples([chosen], chosen, 0.0, 16)[0]


def test_scores_without_an_interval_are_told() -> None:
    chosen = item(drop_of("mine:iou", [0.5], [0.25]))
    (said,) = few_samples([chosen], chosen, 0.05, 16)
    assert (
        said == "The drop of 'split' in mine:iou has no interval on the 1 sample checked; give more (--data, --check)."
    )


def test_of_a_chosen_answer_that_loses_nothing_the_soonest_that_does_is_told() -> None:
    exact, first, second = Scored(split("a"), "edge-only"), item(drop(3), "first"), item(drop(3), "second")
    (said,) = few_samples([first, exact, second], exact, 0.05, 16)
    assert "'first'" in said


def test_of_an_answer_that_loses_too_much_no_number_of_samples_is_told() -> None:
    exact, refused, allowed = Scored(split("a"), "edge-only"), item(drop(8, 4), "refused"), item(drop(8), "allowed")
    assert few_samples([refused, exact], exact, 0.05, 16) == []
    (said,) = few_samples([refused, exact, allowed], exact, 0.05, 16)
    assert "'allowed'" in said
    assert few_samples([replace(allowed, fits=False)], exact, 0.05, 16) == []


def test_few_samples_that_calibrate_and_one_that_does_both() -> None:
    without_metric = item(None)
    (said,) = few_samples([without_metric], without_metric, 0.05, 4)
    assert said.startswith("The quantisers follow from 4 samples; 16 or more are better")
    (said,) = few_samples([without_metric], without_metric, 0.05, 0, shared=True)
    assert said.startswith("The only sample calibrated and checked")
    assert few_samples([without_metric], without_metric, 0.05, 16) == []


def test_nothing_is_said_where_no_answer_loses_any() -> None:
    exact = Scored(split("a"), "edge-only", Accuracy(1, 1.0, 0.0, 0.0, 0.0))
    assert few_samples([exact, Scored(split("b"), "float")], exact, 0.05, 1) == []


def test_a_drop_that_is_allowed_of_no_scores_is_told(problem: Problem) -> None:
    assert without_classes(problem.graph, None) == []
    (said,) = without_classes(problem.graph, 0.01)
    assert said.startswith("'net' gives no class scores, so --max-drop says nothing of it")


def test_a_tensor_that_never_varied_is_named() -> None:
    still = Choice(Quantizer.of_range(8, 2.0, 2.0), 2.0, 2.0, "min-max", 0.0)
    moving = Choice(Quantizer.of_range(8, 0.0, 1.0), 0.0, 1.0, "min-max", 1e-6)
    said, other = constants(Quantised(held={"c": still}, sent={"a": still, "b": moving}))
    assert said.startswith("'c' was 2 on every sample, so its range is a guess; give more samples, or --bits 'c=32'")
    assert other.startswith("'a' was 2")


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


@pytest.mark.parametrize(
    ("right", "samples", "classes", "told"),
    [(0, 32, 1000, True), (3, 32, 10, True), (1, 10, 10, True), (16, 32, 2, True), (0, 9, 1000, False),
     (12, 32, 10, False), (3, 32, 1000, False), (7, 10, 2, False), (32, 32, 10, False)],
)  # fmt: skip
def test_labels_on_which_the_float_network_guesses_are_told(right: int, samples: int, classes: int, told: bool) -> None:
    lossless = [1] * right + [0] * (samples - right)
    said = unfit_labels(item(drop_of("top1", lossless, lossless)), classes)
    assert len(said) == told and all("do not seem to be this network's" in text for text in said)
    assert unfit_labels(item(drop_of("agreement", lossless, lossless)), classes) == []
