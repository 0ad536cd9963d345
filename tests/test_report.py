"""Tables and sentences from made-up plans: the chosen row, bandwidths."""

import io
from types import SimpleNamespace

import pytest

from tests.made_results import COARSE, EDGE, JPEG, SPLIT, result_of, scored_as
from tvm_split import report, report_accuracy
from tvm_split.drop import drop_of
from tvm_split.plan.bandwidths import Span
from tvm_split.plan.interval import Interval
from tvm_split.report_fronts import lists


def to_text(part: object) -> str:
    buffer = io.StringIO()
    report.console(buffer).print(part)
    return buffer.getvalue()


def test_table_marks_the_chosen_row_and_shows_every_column() -> None:
    text = to_text(report.answers(result_of(SPLIT, EDGE, JPEG)))
    rows = [line for line in text.splitlines() if "->" in line and "split after" in line]
    assert len(rows) == 1
    for cell in ("300 ms", "400 ms", "100 ms", "10 ms", "810 ms", "38 KB", "5 MB", "100 %"):
        assert cell in rows[0]
    assert "exact" in text and "5.85 Mbit/s" in text


def headings(*scored: SimpleNamespace) -> list[str]:
    return [str(column.header) for column in report.answers(result_of(*scored)).columns][9:]


def test_the_last_columns_are_named_after_what_was_checked() -> None:
    split = scored_as("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 0.9)
    assert headings(EDGE, JPEG) == ["outputs"]
    assert headings(split, EDGE) == ["agreement", "drop, 95 % sure"]
    split.accuracy.drop = drop_of("top5", [1, 0], [1, 0])
    assert headings(split, EDGE) == ["float top-5", "measured", "drop, 95 % sure"]
    split.predicted_drop = 0.25
    assert headings(split, EDGE) == ["float top-5", "predicted", "measured", "drop, 95 % sure"]
    split.accuracy.drop = None
    assert headings(split, EDGE) == ["relative error"]


def test_float_predicted_and_measured_accuracy_of_a_row() -> None:
    split = scored_as("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 1.0, predicted_drop=0.125)
    split.accuracy.drop = found = drop_of("top1", [1, 1, 1, 0] * 5, [1, 1, 0, 0] * 5)
    text = to_text(report.answers(result_of(split, EDGE)))
    (row,) = (line for line in text.splitlines() if "split after" in line)
    for cell in ("75 %", "62.5 %", "50 %", f"25 % ({found.low * 100:.3g} % to {found.high * 100:.3g} %)"):
        assert cell in row
    (row,) = (line for line in text.splitlines() if "edge-only" in line)
    assert row.count("75 %") == 2 and row.rstrip().endswith("exact")
    split.accuracy.drop = drop_of("mine:iou", [0.75], [0.5])
    assert "0.25 (unknown)" in to_text(report.answers(result_of(split, EDGE)))


def test_a_baseline_over_the_memory_is_marked() -> None:
    over = scored_as("U8", "edge-only", 0, (0.01, 0.0, 0.0, 0.0), 1.0, baseline=True, fits=False)
    fine = scored_as("U4", "edge-only", 0, (0.01, 0.0, 0.0, 0.0), 1.0, baseline=True)
    text = report.plan_text(result_of(SPLIT, over, fine))
    rows = [line.split() for line in text.splitlines() if " ms" in line and line.split()[0] == "="]
    assert sorted(row[1] for row in rows) == ["U4", "x"] and "x: over the memory" in text
    assert "x: over the memory" not in report.plan_text(result_of(SPLIT, fine))


def test_a_predicted_share_is_no_less_than_nothing_and_no_more_than_all() -> None:
    for drop, text in ((1.25, "0 %"), (-0.5, "100 %")):
        split = scored_as("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), 0.75, predicted_drop=drop)
        cells = report_accuracy.columns([split])
        assert cells["predicted"](split) == text


def test_baselines_are_marked_and_always_shown_and_no_reason_names_them() -> None:
    uniform = scored_as("U4", "edge-only", 0, (0.01, 0.0, 0.0, 0.0), 0.5, baseline=True)
    rival = scored_as("QDMP", "split", 9_000, (0.3, 0.2, 0.1, 0.01), baseline=True)
    result = result_of(SPLIT, JPEG, uniform, rival)
    text = report.plan_text(result)
    rows = [line.split()[1] for line in text.splitlines() if line.split()[:1] == ["="] and " ms" in line]
    assert rows == ["U4", "QDMP"] and "= is a baseline" in text
    assert "QDMP" in to_text(report.answers(result, top=1))
    assert "U4" not in report.reason(result) and "QDMP" not in report.reason(result)


def test_a_busy_cloud_is_told() -> None:
    result = result_of(SPLIT, EDGE)
    assert "busy" not in report.plan_text(result)
    result.request.cloud_load = 0.5
    assert "busy with others 0.5 of the time: its times are 1.5 times those of computing" in report.plan_text(result)


def test_how_long_the_chosen_answer_may_take_is_told() -> None:
    result = result_of(SPLIT, EDGE)
    assert "may take" not in report.plan_text(result)
    result.interval = Interval(0.4, 2.5)
    assert "Predicted to take 810 ms; may take from 400 ms to 2.5 s" in report.plan_text(result)


def test_what_accuracy_was_checked_on_is_told() -> None:
    result = result_of(SPLIT, EDGE)
    assert "Accuracy: on 20 samples held back; 16 others calibrated." in report.plan_text(result)
    result.calibrating = 0
    assert "Accuracy: on the one sample that calibrated." in report.plan_text(result)


def test_top_leaves_out_splits_but_never_the_chosen_one_nor_the_baselines() -> None:
    text = to_text(report.answers(result_of(SPLIT, COARSE, EDGE, JPEG), top=1))
    assert "2 bits" in text and "4 bits" in text and "edge-only" in text and "JPEG" in text
    text = to_text(report.answers(result_of(COARSE, SPLIT, EDGE), top=1))
    assert "4 bits" not in text and "edge-only" in text


def test_a_plan_as_text_is_its_table_its_reason_and_its_ranges_of_rates() -> None:
    spans = (Span(6250, 15_000, 2.0, EDGE.candidate), Span(15_000, 125e6, 0.4, SPLIT.candidate))
    result = result_of(SPLIT, COARSE, EDGE, spans=spans)
    text, _, rest = report.plan_text(result).partition("Chosen: ")
    table, _, checked = text.partition("Accuracy: ")
    assert checked == "on 20 samples held back; 16 others calibrated.\n"
    assert table == to_text(report.answers(result))
    assert rest.startswith(report.reason(result).removeprefix("Chosen: ")[:20])
    assert rest.endswith(
        "\nBest answer by uplink rate, as predicted:\n"
        "  below 120 kbit/s: edge-only\n  above 120 kbit/s: split after a, 4 bits\n"
    )
    assert "Best answer" not in report.plan_text(result_of(EDGE))


def test_bandwidths_merge_neighbours() -> None:
    spans = (
        Span(6250, 15_000, 2.0, EDGE.candidate),
        Span(15_000, 90_000, 0.4, SPLIT.candidate),
        Span(90_000, 100_000, 0.4, SPLIT.candidate),
        Span(100_000, 125e6, 0.2, JPEG.candidate),
    )
    assert report.bandwidths(result_of(SPLIT, COARSE, EDGE, spans=spans)) == [
        "below 120 kbit/s: edge-only",
        "120 kbit/s to 800 kbit/s: split after a, 4 bits",
        "above 800 kbit/s: cloud-only JPEG",
    ]
    assert report.bandwidths(result_of(EDGE, spans=spans[:1])) == [
        "at every uplink rate from 50 kbit/s to 120 kbit/s: edge-only"
    ]


def test_answers_by_uplink_rate_are_called_as_the_table_calls_them_and_two_stay_two() -> None:
    spans = (Span(6250, 90_000, 0.4, COARSE.candidate), Span(90_000, 125e6, 0.2, SPLIT.candidate))
    assert report.bandwidths(result_of(SPLIT, COARSE, EDGE, spans=spans)) == [
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
    result = result_of(SPLIT, EDGE, spans=(Span(6250, 125e6, 0.4, SPLIT.candidate),))
    result.request.objective = objective
    assert title in report.plan_text(result).splitlines()


def test_joules_are_shown_when_they_are_the_objective() -> None:
    result = result_of(SPLIT, EDGE)
    assert "edge energy" not in report.plan_text(result)
    result.request.objective = "energy"
    lines = report.plan_text(result).splitlines()
    assert any("edge energy" in line for line in lines)
    assert [line.split("5 MB")[1].split()[:2] for line in lines if "5 MB" in line] == [["1.5", "J"], ["10", "J"]]
    assert any("takes 810 ms and 1.5 J of the edge and sends 38 KB: the least energy of the edge" in x for x in lines)


def test_a_sampled_front_says_so_and_cloud_only_takes_what_the_table_says() -> None:
    frame = scored_as("cloud-only raw", "cloud-only", 384, (0.0, 1.3, 0.2, 0.01))
    result = result_of(SPLIT, frame)
    result.request.pareto, result.front, result.front_is_whole, result.solutions = "memory", (SPLIT, frame), True, ()
    (whole,) = map(to_text, lists(result))
    assert "sampled" not in whole and "cloud-only is within every" in whole
    assert next(line for line in whole.splitlines() if "cloud-only raw" in line).count("5 MB") == 1
    result.front_is_whole = False
    (sampled,) = map(to_text, lists(result))
    assert "sampled" in sampled
