"""What was measured is found again; what is damaged is not, and the user is told."""

import math

import pytest

from tvm_split.calibration.output_error import OutputError
from tvm_split.calibration.output_records import Records

ONE = OutputError(1, (0.1, 1 / 3), (2.0, 7.0), 1e-9, 1)
BAD = OutputError(1, (math.inf,), (0.0,), math.inf, 0)
PLAIN = OutputError(1, (0.5,), (1.0,), None, None)
ALL = {"s 4 weights a": ONE, "s 8 weights a b\n": BAD, "t 2 0.5+3 ä": PLAIN}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    records = Records(path)
    for key, error in ALL.items():
        records.put(key, error)
    assert records.cautions == []
    return path


def found(records):
    return {key: records.get(key) for key in ALL if records.get(key) is not None}


def test_records_come_back_bit_for_bit(path):
    again = Records(path)
    assert found(again) == ALL and again.cautions == []
    assert again.get("s 4 weights b") is None


def test_the_last_of_a_key_counts(path):
    Records(path).put("s 4 weights a", PLAIN)
    assert Records(path).get("s 4 weights a") == PLAIN


@pytest.mark.parametrize("cut", [1, 2, 20, 80])
def test_a_line_that_was_cut_short_is_measured_again(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    records = Records(path)
    if cut == 1:  # the line is whole without its end
        assert found(records) == ALL
    else:
        assert found(records) == {key: ALL[key] for key in list(ALL)[:2]}
        assert "1 of its 3 lines are damaged" in records.cautions[0]
    records.put("new", PLAIN)
    again = Records(path)
    assert again.get("new") == PLAIN and found(again) == found(records)


@pytest.mark.parametrize("damage", [b"garbage\n", b"\xff\xfe\x00\n", b"00000000 {}\n", b'a3830fb7 "a"\n'])
def test_a_line_of_something_else_is_passed_over(path, damage):
    path.write_bytes(damage + path.read_bytes())
    records = Records(path)
    assert found(records) == ALL
    assert str(path) in records.cautions[0] and "1 of its 4 lines" in records.cautions[0]


def test_a_changed_number_is_seen(path):
    path.write_bytes(path.read_bytes().replace(b"2.0", b"3.0"))
    records = Records(path)
    assert "s 4 weights a" not in found(records) and records.cautions


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    records = Records(tmp_path / "file" / "records.jsonl")
    records.put("a", ONE)
    records.put("b", ONE)
    assert records.get("b") == ONE
    (caution,) = [text for text in records.cautions if "cannot be written" in text]
    assert "TVM_SPLIT_CACHE" in caution


def test_without_a_path_nothing_is_written():
    records = Records()
    records.put("a", ONE)
    assert records.get("a") == ONE and records.cautions == []
