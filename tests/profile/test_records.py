import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profile.made_records import halves, layers
from tvm_split.errors import CostError
from tvm_split.profile.feature_names import NAMES
from tvm_split.profile.records import Records

DEVICE = {"target": "host", "threads": 1, "kernels": "ab12"}


@pytest.fixture
def path(tmp_path):
    records = Records(tmp_path / "host.jsonl", DEVICE)
    for record in layers(3, 2):
        records.add(record)
    records.add_half(halves(1, 1)[0])
    return records.path


def test_what_was_timed_is_there_when_the_file_is_opened_again(path):
    again = Records(path, DEVICE)
    assert list(again.found.values()) == layers(3, 2) and again.halves == halves(1, 1)


@pytest.mark.parametrize("lost", [1, 20, 100])
def test_a_line_that_was_cut_off_is_dropped_and_the_next_one_is_whole(path, lost):
    path.write_bytes(path.read_bytes()[:-lost])
    again = Records(path, DEVICE)
    assert len(again.found) == 3 and not again.halves
    again.add(layers(9, 2)[8])
    assert list(Records(path, DEVICE).found) == ["k0", "k1", "k2", "k8"]


def test_records_of_another_device_are_refused_with_what_differs(path):
    with pytest.raises(CostError, match=r"threads is 1, expected 2; kernels is 'ab12', expected 'cd'"):
        Records(path, {"target": "host", "threads": 2, "kernels": "cd"})


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", "nonsense\n", '{"version": 1}\n', '{"version":9,"device":{}}\n'])
def test_what_is_no_file_of_records_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(CostError, match=r"other\.jsonl"):
        Records(path, DEVICE)
    assert path.read_text() == text


def test_a_record_without_a_time_is_refused(path):
    lines = path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), "seconds": 0})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(CostError, match=r"seconds 0, .* expected 1e-10 to 1000"):
        Records(path, DEVICE)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("records") / "any.jsonl"
    path.write_bytes(data)
    with pytest.raises(CostError):
        Records(path, DEVICE)


def changed(path, line, change):
    """The file with one line (1 to 3 are layers, 4 is a half) changed."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    (lines[line]["half"] if line == 4 else lines[line]).update(change)
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


@pytest.mark.parametrize(
    ("line", "change"),
    [(1, {"seconds": True}), (1, {"seconds": 1e300}), (1, {"seconds": float("inf")}), (1, {"spread": float("nan")}),
     (1, {"spread": None}), (1, {"base_s": "x"}), (1, {"features": [1.0]}), (1, {"features": [1e300] * len(NAMES)}),
     (1, {"rule": 5}), (1, {"network": ["a"]}), (1, {"key": {}}), (4, {"seconds": -1}), (4, {"seconds": 0}),
     (4, {"seconds": "1"}), (4, {"weight_bytes": -1e30}), (4, {"crossing": float("nan")}), (4, {"keys": "abc"}),
     (4, {"keys": [[1]]}), (4, {"keys": []}), (4, {"network": 7}), (0, {"device": [1]}), (0, {"device": None})],
)  # fmt: skip
def test_damaged_values_are_refused_and_left_alone(path, line, change):
    changed(path, line, change)
    before = path.read_bytes()
    with pytest.raises(CostError, match=r"host\.jsonl"):
        Records(path, DEVICE)
    assert path.read_bytes() == before


def test_lines_that_are_deep_are_refused(path):
    with path.open("a") as file:
        file.write("[" * 100_000 + "\n")
    with pytest.raises(CostError, match=r"host\.jsonl"):
        Records(path, DEVICE)


def test_a_cut_line_is_dropped_at_its_own_bytes_whatever_stands_before(path):
    """Line ends of Windows, and bytes that are no UTF-8, are longer or shorter as text."""
    data = path.read_bytes().replace(b"\n", b"\r\n").replace(b'"layer":"l0"', b'"layer":"\xff\xfe"')
    path.write_bytes(data + b'{"key": "cut')
    assert len(Records(path, DEVICE).found) == 3 and path.read_bytes() == data
