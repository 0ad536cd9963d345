"""Why an answer was chosen, in sentences, from made-up plans: by prediction and by the clock."""

from dataclasses import replace
from types import SimpleNamespace

from tests.made_results import COARSE, EDGE, JPEG, SPLIT, result_of, scored_as
from tvm_split import report
from tvm_split.plan.problem import Timing


def test_reason_of_a_split() -> None:
    assert report.reason(result_of(SPLIT, EDGE, JPEG)) == (
        "Chosen: split after a, 4 bits: 810 ms, 1.86x sooner than cloud-only JPEG, "
        "because it sends 38 KB instead of 147 KB."
    )


def test_reason_says_do_not_split_plainly() -> None:
    slow = scored_as("split after a, 8 bits", "split", 900_000, (0.5, 3.0, 0.1, 0.01), 1.0)
    said = report.reason(result_of(EDGE, slow))
    assert said.startswith("Chosen: do not split. Edge-only: 2 s, 1.8x sooner than split after a, 8 bits")
    assert "because it sends nothing instead of 900 KB" in said


def test_reason_of_equal_times_says_what_decides() -> None:
    times = (0.25, 0.0, 0.0, 0.0)
    fine = scored_as("edge-only, W8A8", "edge-only", 0, times, 0.99)
    coarse = scored_as("edge-only, W4A8", "edge-only", 0, (0.25 * (1 - 1e-13), 0.0, 0.0, 0.0), 0.95)
    said = report.reason(result_of(fine, coarse))
    assert said == "Chosen: do not split. Edge-only, W8A8: 250 ms, as soon as edge-only, W4A8, and loses less."
    smaller = scored_as("edge-only, W4A6", "edge-only", 0, times, 0.95)
    smaller.candidate = replace(smaller.candidate, edge_memory_bytes=4_000_000)
    assert report.reason(result_of(smaller, coarse)).endswith("as soon as edge-only, W4A8, and takes less memory.")


def test_reason_names_a_sooner_split_that_was_not_accurate_enough() -> None:
    said = report.reason(result_of(SPLIT, COARSE, JPEG))
    assert "Split after a, 2 bits would take 610 ms" in said
    assert "its agreement drops by 50 % (29.9 % to 70.1 %), more than you allow (5 %)" in said


def test_reason_without_a_rival() -> None:
    assert "nothing else" in report.reason(result_of(EDGE))


def _timed(scored: SimpleNamespace, *times: float) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(scored), "measured": Timing(*times)})


def test_a_reason_by_the_clock_has_its_times_and_the_rivals_that_were_timed() -> None:
    """By prediction 8 bits are sooner, and cloud-only JPEG is the first that does not split; neither was so."""
    eight = scored_as("split after a, 8 bits", "split", 76_000, (0.1, 0.6, 0.1, 0.0))
    chosen = _timed(SPLIT, 0.2, 0.4, 0.1, 0.01)
    result = result_of(chosen, _timed(eight, 0.5, 0.6, 0.1, 0.0), _timed(EDGE, 0.75, 0.0, 0.0, 0.0), JPEG)
    assert report.reason(result) == (
        "Chosen by the clock: split after a, 4 bits: 710 ms, 1.06x sooner than edge-only, because the edge computes "
        "for 200 ms instead of 750 ms. Split after a, 8 bits was predicted sooner, 800 ms, but takes 1.2 s."
    )


def test_a_reason_by_the_clock_for_no_split_alone_and_beside_one_that_may_not_be_chosen() -> None:
    edge = _timed(EDGE, 0.5, 0.0, 0.0, 0.0)
    assert report.reason(result_of(edge, SPLIT)) == (
        "Chosen by the clock: do not split. Edge-only: 500 ms; no other answer was timed."
    )
    said = report.reason(result_of(edge, _timed(SPLIT, 0.1, 0.4, 0.01, 0.0), COARSE))
    assert "barely sooner than split after a, 4 bits, because it sends nothing instead of 38 KB." in said
    assert "Split after a, 4 bits was predicted sooner, 810 ms, but takes 510 ms." in said
    assert "Split after a, 2 bits would take 610 ms by prediction, but its agreement drops by 50 %" in said
