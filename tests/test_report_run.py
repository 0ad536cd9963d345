"""Runs in words: predicted beside measured, outputs, tensors of a board beside the twin's."""

import io

import numpy as np
import pytest

from tvm_split import report, report_run
from tvm_split.comparison import STAGES, Place, compare
from tvm_split.plan.problem import Timing


def text_of(part: object) -> str:
    buffer = io.StringIO()
    report.console(buffer).print(part)
    return buffer.getvalue()


def test_comparison_gives_the_error_of_each_stage() -> None:
    places = {name: Place(name, "the board", "measured") for name in STAGES}
    text = text_of(report_run.comparison(compare(Timing(0.3, 0.2, 0.1, 0.0), Timing(0.2, 0.2, 0.2, 0.0), places)))
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "+50 %" in lines["edge"] and "-50 %" in lines["cloud"] and "%" not in lines["downlink"]
    assert "+0 %" in lines["total"]


def test_comparison_gives_no_error_for_another_device_and_a_difference_below_a_millisecond() -> None:
    here, link = "this machine (the twin for x86-64-v3)", Place("4g", "4g", "measured")
    places = {"edge": Place("raspberry-pi-4", here, "elsewhere"), "cloud": Place("c5.xlarge", here, "elsewhere"),
              "uplink": link, "downlink": link}  # fmt: skip
    stages = compare(Timing(0.3, 0.2, 0.1, 16e-6), Timing(0.2, 0.21, 0.2, 0.002), places)
    lines = {line.split()[0]: line for line in text_of(report_run.comparison(stages)).splitlines() if line.strip()}
    assert "%" not in lines["edge"] + lines["cloud"] + lines["total"] and "-5 %" in lines["uplink"]
    assert "%" not in lines["downlink"] and "-1.98 ms" in lines["downlink"]
    assert report_run.comparison_notes(stages) == [
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
    assert report_run.comparison_notes(stages) == ["Computed from the link's rate, not measured: uplink."]
    assert stages[-1].error_percent == pytest.approx(20) and stages[1].error_percent is None
    much = compare(Timing(3.0, 0, 0, 0), Timing(0.2, 0, 0, 0), places)[0]
    assert "15x" in text_of(report_run.comparison([much]))


def test_output_lines() -> None:
    scores = np.zeros((1, 20), np.float32)
    scores[0, [7, 3]] = 5, 4
    assert "top-5 classes by index (score): 7 (5), 3 (4)" in report_run.output_line("logits", scores)
    assert report_run.output_line("box", np.ones((1, 4), np.float32)) == "box float32 1x4: 1 to 1, mean 1"
    assert report_run.output_line("none", np.ones((0, 4), np.float32)).endswith("empty")
    assert report_run.top_classes(np.array(["a"] * 20)) is None


def test_check_lines() -> None:
    check = {"tensor": "h", "bits": 4, "unit": "steps", "max_difference": 1.0, "differing": 0, "elements": 64}
    assert report_run.check_line(check) == "h at 4 bits: all 64 elements equal the twin's"
    assert "3 of 64 elements differ from the twin's, by at most 1 quantisation steps" in report_run.check_line(
        check | {"differing": 3}
    )
