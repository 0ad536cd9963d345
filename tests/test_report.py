"""Tables and sentences from made-up plans: units, the chosen row, the reason, bandwidths, predicted beside measured."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

from tvm_split import report, units
from tvm_split.choice import Tolerance
from tvm_split.comparison import STAGES, Place, compare
from tvm_split.plan.bandwidths import Span
from tvm_split.plan.problem import Candidate, Crossing, Link, Timing
from tvm_split.quantised import Quantised
from tvm_split.report_lists import first_sentence, links_table, passes_table, planners_table, targets_table, zoo_table


def _scored(
    label: str, kind: str, sent: int, times: tuple[float, ...], agreement: float | None = None
) -> SimpleNamespace:
    layers = {"edge-only": ("a", "b"), "split": ("a",), "cloud-only": ()}[kind]
    codec = "jpeg" if "JPEG" in label else "packed"
    crossing = (Crossing("x", (sent,), 8, sent, codec),) if sent else ()
    accuracy = (
        None if agreement is None else SimpleNamespace(top1_agreement=agreement, relative_error=0.1, max_abs_error=0.2)
    )
    candidate = Candidate(kind, layers, crossing, 5_000_000, Timing(*times))
    return SimpleNamespace(label=label, candidate=candidate, accuracy=accuracy, measured=None, fits=True)


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
    request = SimpleNamespace(edge="raspberry-pi-4", cloud="c5.xlarge", min_agreement=0.95, tolerance=Tolerance())
    problem = SimpleNamespace(link=Link("4g", 731_250, 1_720_000, 0.04))
    graph = SimpleNamespace(name="net")
    return SimpleNamespace(
        chosen=chosen, candidates=tuple(candidates), request=request, problem=problem, graph=graph, spans=spans,
        quantised={chosen.candidate: Quantised()},
    )  # fmt: skip


@pytest.mark.parametrize(
    "value, text",
    [(0, "0 ms"), (8.5e-4, "850 us"), (0.00812, "8.12 ms"), (0.9994, "999 ms"), (3.25, "3.25 s"), (1234.0, "1234 s")],
)
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize("value, text", [(0, "0 B"), (999, "999 B"), (38_400, "38.4 KB"), (3_210_000, "3.21 MB")])
def test_size(value: int, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize("value, text", [(6250, "50 kbit/s"), (731_250, "5.85 Mbit/s"), (125e6, "1 Gbit/s")])
def test_rate(value: float, text: str) -> None:
    assert units.rate(value) == text


def test_table_marks_the_chosen_row_and_shows_every_column() -> None:
    text = to_text(report.answers(_result(SPLIT, EDGE, JPEG)))
    rows = [line for line in text.splitlines() if "->" in line and "split after" in line]
    assert len(rows) == 1
    for cell in ("300 ms", "400 ms", "100 ms", "10 ms", "810 ms", "38 KB", "5 MB", "100 %"):
        assert cell in rows[0]
    assert "exact" in text and "5.85 Mbit/s" in text


@pytest.mark.parametrize(
    ("agreement", "heading"), [(None, "outputs"), (0.9, "top-1 agreement"), ("no classes", "relative error")]
)
def test_the_last_column_is_named_after_what_was_checked(agreement: object, heading: str) -> None:
    split = _scored("split after a, 4 bits", "split", 38_000, (0.3, 0.4, 0.1, 0.01), agreement)
    if agreement == "no classes":
        split.accuracy.top1_agreement = None
    assert report.answers(_result(split, EDGE)).columns[-1].header == heading


def test_top_leaves_out_splits_but_never_the_chosen_one_nor_the_baselines() -> None:
    text = to_text(report.answers(_result(SPLIT, COARSE, EDGE, JPEG), top=1))
    assert "2 bits" in text and "4 bits" in text and "edge-only" in text and "JPEG" in text
    text = to_text(report.answers(_result(COARSE, SPLIT, EDGE), top=1))
    assert "4 bits" not in text and "edge-only" in text


def test_a_plan_as_text_is_its_table_its_reason_and_its_ranges_of_rates() -> None:
    spans = (Span(6250, 15_000, 2.0, EDGE.candidate), Span(15_000, 125e6, 0.4, SPLIT.candidate))
    result = _result(SPLIT, COARSE, EDGE, spans=spans)
    table, _, rest = report.plan_text(result).partition("Chosen: ")
    assert table == to_text(report.answers(result))
    assert rest.startswith(report.reason(result).removeprefix("Chosen: ")[:20])
    assert rest.endswith(
        "\nBest answer by uplink rate, as predicted:\n"
        "  below 120 kbit/s: edge-only\n  above 120 kbit/s: split after a, 8 bits\n"
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


def test_reason_names_a_sooner_split_that_was_not_accurate_enough() -> None:
    said = report.reason(_result(SPLIT, COARSE, JPEG))
    assert "Split after a, 2 bits would take 610 ms" in said and "(50 %) is below what you allow (95 %)" in said


def test_reason_without_a_rival() -> None:
    assert "nothing else" in report.reason(_result(EDGE))


def test_bandwidths_merge_neighbours() -> None:
    spans = (
        Span(6250, 15_000, 2.0, EDGE.candidate),
        Span(15_000, 90_000, 0.4, SPLIT.candidate),
        Span(90_000, 100_000, 0.4, SPLIT.candidate),
        Span(100_000, 125e6, 0.2, JPEG.candidate),
    )
    assert report.bandwidths(_result(SPLIT, COARSE, EDGE, spans=spans)) == [
        "below 120 kbit/s: edge-only",
        "120 kbit/s to 800 kbit/s: split after a, 8 bits",
        "above 800 kbit/s: cloud-only JPEG",
    ]
    assert report.bandwidths(_result(EDGE, spans=spans[:1])) == [
        "at every uplink rate from 50 kbit/s to 120 kbit/s: edge-only"
    ]


def test_comparison_gives_the_error_of_each_stage() -> None:
    places = {name: Place(name, "the board", "measured") for name in STAGES}
    text = to_text(report.comparison(compare(Timing(0.3, 0.2, 0.1, 0.0), Timing(0.2, 0.2, 0.2, 0.0), places)))
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "+50 %" in lines["edge"] and "-50 %" in lines["cloud"] and "%" not in lines["downlink"]
    assert "+0 %" in lines["total"]


def test_comparison_gives_no_error_for_another_device_and_a_difference_below_a_millisecond() -> None:
    here, link = "this machine (the twin for x86-64-v3)", Place("4g", "4g", "measured")
    places = {"edge": Place("raspberry-pi-4", here, "elsewhere"), "cloud": Place("c5.xlarge", here, "elsewhere"),
              "uplink": link, "downlink": link}  # fmt: skip
    stages = compare(Timing(0.3, 0.2, 0.1, 16e-6), Timing(0.2, 0.21, 0.2, 0.002), places)
    lines = {line.split()[0]: line for line in to_text(report.comparison(stages)).splitlines() if line.strip()}
    assert "%" not in lines["edge"] + lines["cloud"] + lines["total"] and "-5 %" in lines["uplink"]
    assert "%" not in lines["downlink"] and "-1.98 ms" in lines["downlink"]
    assert report.comparison_notes(stages) == [
        f"Edge is predicted for raspberry-pi-4, cloud for c5.xlarge; both were measured on {here}, "
        "which says nothing of the prediction."
    ]
    assert stages[0].to_json()["error_percent"] is None and stages[3].to_json()["difference_s"] == pytest.approx(
        -1984e-6
    )


def test_comparison_names_what_was_computed() -> None:
    board, link = Place("raspberry-pi-4", "the board pi", "measured"), Place("4g", "the link's rate", "computed")
    places = {"edge": board, "cloud": board, "uplink": link, "downlink": link}
    stages = compare(Timing(0.3, 0.2, 0.1, 0.0), Timing(0.2, 0.2, 0.1, 0.0), places)
    assert report.comparison_notes(stages) == ["Computed from the link's rate, not measured: uplink."]
    assert stages[-1].error_percent == pytest.approx(20) and stages[1].error_percent is None
    much = compare(Timing(3.0, 0, 0, 0), Timing(0.2, 0, 0, 0), places)[0]
    assert "15x" in to_text(report.comparison([much]))


def test_output_lines() -> None:
    scores = np.zeros((1, 20), np.float32)
    scores[0, [7, 3]] = 5, 4
    assert "top-5 classes by index (score): 7 (5), 3 (4)" in report.output_line("logits", scores)
    assert report.output_line("box", np.ones((1, 4), np.float32)) == "box float32 1x4: 1 to 1, mean 1"
    assert report.output_line("none", np.ones((0, 4), np.float32)).endswith("empty")
    assert report.top_classes(np.array(["a"] * 20)) is None


def test_check_lines() -> None:
    check = {"tensor": "h", "bits": 4, "unit": "steps", "max_difference": 1.0, "differing": 0, "elements": 64}
    assert report.check_line(check) == "h at 4 bits: all 64 elements equal the twin's"
    assert "3 of 64 elements differ from the twin's, by at most 1 quantisation steps" in report.check_line(
        check | {"differing": 3}
    )


def test_lists_hold_every_name() -> None:
    from tvm_split import zoo
    from tvm_split.passes import PASSES
    from tvm_split.plan import PLANNERS
    from tvm_split.targets import link_names, load_link, load_target, target_names

    tables = {
        targets_table([load_target(name) for name in target_names()]): target_names(),
        links_table([load_link(name) for name in link_names()]): link_names(),
        planners_table(): PLANNERS,
        passes_table(): PASSES,
        zoo_table([zoo.entry(name) for name in zoo.names()]): zoo.names(),
    }
    for made, names in tables.items():
        text = to_text(made)
        assert all(name in text for name in names)


def test_first_sentence() -> None:
    assert first_sentence("Fold it. And more.\nYet more.\n\nOther.") == "Fold it"
    assert first_sentence("Say\nit all\n\nrest") == "Say it all"
