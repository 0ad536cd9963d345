"""Tables and sentences from made-up plans: the chosen row, the reason, bandwidths."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tvm_split import report, report_accuracy
from tvm_split.choice import Tolerance
from tvm_split.drop import drop_of
from tvm_split.plan.bandwidths import Span
from tvm_split.plan.interval import Interval
from tvm_split.plan.problem import Candidate, Crossing, Link, Timing
from tvm_split.quantised import Quantised
from tvm_split.report_fronts import lists


def _scored(
    label: str, kind: str, sent: int, times: tuple[float, ...], agreement: float | None = None, **more: object
) -> SimpleNamespace:
    layers = {"edge-only": ("a", "b"), "split": ("a",), "cloud-only": ()}[kind]
    codec = "jpeg" if "JPEG" in label else "packed"
    crossing = (Crossing("x", (sent,), 8, sent, codec),) if sent else ()
    accuracy = None
    if agreement is not None:
        lost = round(20 * (1 - agreement))
        drop = drop_of("agreement", [1] * 20, [0] * lost + [1] * (20 - lost), one_sided=True)
        accuracy = SimpleNamespace(drop=drop, relative_error=0.1, max_abs_error=0.2)
    candidate = Candidate(kind, layers, crossing, 5_000_000, Timing(*times))
    fields = {"measured": None, "fits": True, "baseline": False, "predicted_drop": None, **more}
    return SimpleNamespace(label=label, candidate=candidate, accuracy=accuracy, **fields)


SPLIT = _scored("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 1.0)
COARSE = _scored("split after a, 2 bits", "split", 19_000, (0.3, 0.2, 0.1, 0.01), 0.5)
EDGE = _scored("edge-only", "edge-only", 0, (2.0, 0.0, 0.0, 0.0))
JPEG = _scored("cloud-only JPEG", "cloud-only", 147_000, (0.0, 1.3, 0.2, 0.01))


def to_text(part: object) -> str:
    buffer = io.StringIO()
    report.console(buffer).print(part)
    return buffer.getvalue()


def _result(chosen: SimpleNamespace, *others: SimpleNamespace, spans: tuple[Span, ...] = ()) -> SimpleNamespace:
    candidates = sorted((chosen, *others), key=lambda scored: scored.candidate.predicted.total_s)
    request = SimpleNamespace(edge="raspberry-pi-4", cloud="c5.xlarge", tolerance=Tolerance(), objective="latency",
                              cloud_load=0.0)  # fmt: skip
    problem = SimpleNamespace(link=Link("4g", 731_250, 1_720_000, 0.04), memory_bytes=4_000_000)
    graph = SimpleNamespace(name="net")
    return SimpleNamespace(
        chosen=chosen, candidates=tuple(candidates), request=request, problem=problem, graph=graph, spans=spans,
        calibrating=16, checking=20, quantised={chosen.candidate: Quantised()},
        energy_j=lambda candidate: 5 * candidate.predicted.edge_s, edge_w=None, interval=None,
    )  # fmt: skip


def test_table_marks_the_chosen_row_and_shows_every_column() -> None:
    text = to_text(report.answers(_result(SPLIT, EDGE, JPEG)))
    rows = [line for line in text.splitlines() if "->" in line and "split after" in line]
    assert len(rows) == 1
    for cell in ("300 ms", "400 ms", "100 ms", "10 ms", "810 ms", "38 KB", "5 MB", "100 %"):
        assert cell in rows[0]
    assert "exact" in text and "5.85 Mbit/s" in text


def headings(*scored: SimpleNamespace) -> list[str]:
    return [str(column.header) for column in report.answers(_result(*scored)).columns][9:]


def test_the_last_columns_are_named_after_what_was_checked() -> None:
    split = _scored("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 0.9)
    assert headings(EDGE, JPEG) == ["outputs"]
    assert headings(split, EDGE) == ["agreement", "drop, 95 % sure"]
    split.accuracy.drop = drop_of("top5", [1, 0], [1, 0])
    assert headings(split, EDGE) == ["float top-5", "measured", "drop, 95 % sure"]
    split.predicted_drop = 0.25
    assert headings(split, EDGE) == ["float top-5", "predicted", "measured", "drop, 95 % sure"]
    split.accuracy.drop = None
    assert headings(split, EDGE) == ["relative error"]


def test_float_predicted_and_measured_accuracy_of_a_row() -> None:
    split = _scored("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 1.0, predicted_drop=0.125)
    split.accuracy.drop = found = drop_of("top1", [1, 1, 1, 0] * 5, [1, 1, 0, 0] * 5)
    text = to_text(report.answers(_result(split, EDGE)))
    (row,) = (line for line in text.splitlines() if "split after" in line)
    for cell in ("75 %", "62.5 %", "50 %", f"25 % ({found.low * 100:.3g} % to {found.high * 100:.3g} %)"):
        assert cell in row
    (row,) = (line for line in text.splitlines() if "edge-only" in line)
    assert row.count("75 %") == 2 and row.rstrip().endswith("exact")
    split.accuracy.drop = drop_of("mine:iou", [0.75], [0.5])
    assert "0.25 (unknown)" in to_text(report.answers(_result(split, EDGE)))


def test_a_baseline_over_the_memory_is_marked() -> None:
    over = _scored("U8", "edge-only", 0, (0.01, 0.0, 0.0, 0.0), 1.0, baseline=True, fits=False)
    fine = _scored("U4", "edge-only", 0, (0.01, 0.0, 0.0, 0.0), 1.0, baseline=True)
    text = report.plan_text(_result(SPLIT, over, fine))
    rows = [line.split() for line in text.splitlines() if " ms" in line and line.split()[0] == "="]
    assert sorted(row[1] for row in rows) == ["U4", "x"] and "x: over the memory" in text
    assert "x: over the memory" not in report.plan_text(_result(SPLIT, fine))


def test_a_predicted_share_is_no_less_than_nothing_and_no_more_than_all() -> None:
    for drop, text in ((1.25, "0 %"), (-0.5, "100 %")):
        split = _scored("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 0.75, predicted_drop=drop)
        cells = report_accuracy.columns([split])
        assert cells["predicted"](split) == text


def test_baselines_are_marked_and_always_shown_and_no_reason_names_them() -> None:
    uniform = _scored("U4", "edge-only", 0, (0.01, 0.0, 0.0, 0.0), 0.5, baseline=True)
    rival = _scored("QDMP", "split", 9_000, (0.3, 0.2, 0.1, 0.01), baseline=True)
    result = _result(SPLIT, JPEG, uniform, rival)
    text = report.plan_text(result)
    rows = [line.split()[1] for line in text.splitlines() if line.split()[:1] == ["="] and " ms" in line]
    assert rows == ["U4", "QDMP"] and "= is a baseline" in text
    assert "QDMP" in to_text(report.answers(result, top=1))
    assert "U4" not in report.reason(result) and "QDMP" not in report.reason(result)


def test_a_busy_cloud_is_told() -> None:
    result = _result(SPLIT, EDGE)
    assert "busy" not in report.plan_text(result)
    result.request.cloud_load = 0.5
    assert "busy with others 0.5 of the time: its times are 1.5 times those of computing" in report.plan_text(result)


def test_how_long_the_chosen_answer_may_take_is_told() -> None:
    result = _result(SPLIT, EDGE)
    assert "may take" not in report.plan_text(result)
    result.interval = Interval(0.4, 2.5)
    assert "Predicted to take 810 ms; may take from 400 ms to 2.5 s" in report.plan_text(result)


def test_what_accuracy_was_checked_on_is_told() -> None:
    result = _result(SPLIT, EDGE)
    assert "Accuracy: on 20 samples held back; 16 others calibrated." in report.plan_text(result)
    result.calibrating = 0
    assert "Accuracy: on the one sample that calibrated." in report.plan_text(result)


def test_top_leaves_out_splits_but_never_the_chosen_one_nor_the_baselines() -> None:
    text = to_text(report.answers(_result(SPLIT, COARSE, EDGE, JPEG), top=1))
    assert "2 bits" in text and "4 bits" in text and "edge-only" in text and "JPEG" in text
    text = to_text(report.answers(_result(COARSE, SPLIT, EDGE), top=1))
    assert "4 bits" not in text and "edge-only" in text


def test_a_plan_as_text_is_its_table_its_reason_and_its_ranges_of_rates() -> None:
    spans = (Span(6250, 15_000, 2.0, EDGE.candidate), Span(15_000, 125e6, 0.4, SPLIT.candidate))
    result = _result(SPLIT, COARSE, EDGE, spans=spans)
    text, _, rest = report.plan_text(result).partition("Chosen: ")
    table, _, checked = text.partition("Accuracy: ")
    assert checked == "on 20 samples held back; 16 others calibrated.\n"
    assert table == to_text(report.answers(result))
    assert rest.startswith(report.reason(result).removeprefix("Chosen: ")[:20])
    assert rest.endswith(
        "\nBest answer by uplink rate, as predicted:\n"
        "  below 120 kbit/s: edge-only\n  above 120 kbit/s: split after a, 4 bits\n"
    )
    assert "Best answer" not in report.plan_text(_result(EDGE))


def test_reason_of_a_split() -> None:
    assert report.reason(_result(SPLIT, EDGE, JPEG)) == (
        "Chosen: split after a, 4 bits: 810 ms, 1.86x sooner than cloud-only JPEG, "
        "because it sends 38 KB instead of 147 KB."
    )


def test_reason_says_do_not_split_plainly() -> None:
    slow = _scored("split after a, 8 bits", "split", 900_000, (0.5, 3.0, 0.1, 0.01), 1.0)
    said = report.reason(_result(EDGE, slow))
    assert said.startswith("Chosen: do not split. Edge-only: 2 s, 1.8x sooner than split after a, 8 bits")
    assert "because it sends nothing instead of 900 KB" in said


def test_reason_of_equal_times_says_what_decides() -> None:
    times = (0.25, 0.0, 0.0, 0.0)
    fine = _scored("edge-only, W8A8", "edge-only", 0, times, 0.99)
    coarse = _scored("edge-only, W4A8", "edge-only", 0, (0.25 * (1 - 1e-13), 0.0, 0.0, 0.0), 0.95)
    said = report.reason(_result(fine, coarse))
    assert said == "Chosen: do not split. Edge-only, W8A8: 250 ms, as soon as edge-only, W4A8, and loses less."
    smaller = _scored("edge-only, W4A6", "edge-only", 0, times, 0.95)
    smaller.candidate = replace(smaller.candidate, edge_memory_bytes=4_000_000)
    assert report.reason(_result(smaller, coarse)).endswith("as soon as edge-only, W4A8, and takes less memory.")


def test_reason_names_a_sooner_split_that_was_not_accurate_enough() -> None:
    said = report.reason(_result(SPLIT, COARSE, JPEG))
    assert "Split after a, 2 bits would take 610 ms" in said
    assert "its agreement drops by 50 % (29.9 % to 70.1 %), more than you allow (5 %)" in said


def test_reason_without_a_rival() -> None:
    assert "nothing else" in report.reason(_result(EDGE))


def _timed(scored: SimpleNamespace, *times: float) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(scored), "measured": Timing(*times)})


def test_a_reason_by_the_clock_has_its_times_and_the_rivals_that_were_timed() -> None:
    """By prediction 8 bits are sooner, and cloud-only JPEG is the first that does not split; neither was so."""
    eight = _scored("split after a, 8 bits", "split", 76_000, (0.1, 0.6, 0.1, 0.0))
    chosen = _timed(SPLIT, 0.2, 0.4, 0.1, 0.01)
    result = _result(chosen, _timed(eight, 0.5, 0.6, 0.1, 0.0), _timed(EDGE, 0.75, 0.0, 0.0, 0.0), JPEG)
    assert report.reason(result) == (
        "Chosen by the clock: split after a, 4 bits: 710 ms, 1.06x sooner than edge-only, because the edge computes "
        "for 200 ms instead of 750 ms. Split after a, 8 bits was predicted sooner, 800 ms, but takes 1.2 s."
    )


def test_a_reason_by_the_clock_for_no_split_alone_and_beside_one_that_may_not_be_chosen() -> None:
    edge = _timed(EDGE, 0.5, 0.0, 0.0, 0.0)
    assert report.reason(_result(edge, SPLIT)) == (
        "Chosen by the clock: do not split. Edge-only: 500 ms; no other answer was timed."
    )
    said = report.reason(_result(edge, _timed(SPLIT, 0.1, 0.4, 0.01, 0.0), COARSE))
    assert "barely sooner than split after a, 4 bits, because it sends nothing instead of 38 KB." in said
    assert "Split after a, 4 bits was predicted sooner, 810 ms, but takes 510 ms." in said
    assert "Split after a, 2 bits would take 610 ms by prediction, but its agreement drops by 50 %" in said


def test_bandwidths_merge_neighbours() -> None:
    spans = (
        Span(6250, 15_000, 2.0, EDGE.candidate),
        Span(15_000, 90_000, 0.4, SPLIT.candidate),
        Span(90_000, 100_000, 0.4, SPLIT.candidate),
        Span(100_000, 125e6, 0.2, JPEG.candidate),
    )
    assert report.bandwidths(_result(SPLIT, COARSE, EDGE, spans=spans)) == [
        "below 120 kbit/s: edge-only",
        "120 kbit/s to 800 kbit/s: split after a, 4 bits",
        "above 800 kbit/s: cloud-only JPEG",
    ]
    assert report.bandwidths(_result(EDGE, spans=spans[:1])) == [
        "at every uplink rate from 50 kbit/s to 120 kbit/s: edge-only"
    ]


def test_answers_by_uplink_rate_are_called_as_the_table_calls_them_and_two_stay_two() -> None:
    spans = (Span(6250, 90_000, 0.4, COARSE.candidate), Span(90_000, 125e6, 0.2, SPLIT.candidate))
    assert report.bandwidths(_result(SPLIT, COARSE, EDGE, spans=spans)) == [
        "below 720 kbit/s: split after a, 2 bits",
        "above 720 kbit/s: split after a, 4 bits",
    ]


@pytest.mark.parametrize(
    "objective, title",
    [
        ("latency", "Best answer by uplink rate, as predicted:"),
        ("energy", "Soonest answer by uplink rate, as predicted, whatever its energy:"),
        ("payload", "Soonest answer by uplink rate, as predicted, whatever its payload:"),
    ],
)
def test_what_answers_by_uplink_rate_are_ranked_by_is_said(objective: str, title: str) -> None:
    result = _result(SPLIT, EDGE, spans=(Span(6250, 125e6, 0.4, SPLIT.candidate),))
    result.request.objective = objective
    assert title in report.plan_text(result).splitlines()


def test_joules_are_shown_when_they_are_the_objective() -> None:
    result = _result(SPLIT, EDGE)
    assert "edge energy" not in report.plan_text(result)
    result.request.objective = "energy"
    lines = report.plan_text(result).splitlines()
    assert any("edge energy" in line for line in lines)
    assert [line.split("5 MB")[1].split()[:2] for line in lines if "5 MB" in line] == [["1.5", "J"], ["10", "J"]]
    assert any("takes 810 ms and 1.5 J of the edge and sends 38 KB: the least energy of the edge" in x for x in lines)


def test_a_sampled_front_says_so_and_cloud_only_takes_what_the_table_says() -> None:
    frame = _scored("cloud-only raw", "cloud-only", 384, (0.0, 1.3, 0.2, 0.01))
    result = _result(SPLIT, frame)
    result.request.pareto, result.front, result.front_is_whole, result.solutions = "memory", (SPLIT, frame), True, ()
    (whole,) = map(to_text, lists(result))
    assert "sampled" not in whole and "cloud-only is within every" in whole
    assert next(line for line in whole.splitlines() if "cloud-only raw" in line).count("5 MB") == 1
    result.front_is_whole = False
    (sampled,) = map(to_text, lists(result))
    assert "sampled" in sampled
