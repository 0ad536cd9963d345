"""What a user's own functions raise is told with its place; dicts of a function may hold labels."""

from pathlib import Path

import numpy as np
import pytest

from tvm_split import workflow
from tvm_split.data import load_labelled
from tvm_split.errors import DataError
from tvm_split.graph import Graph, Tensor
from tvm_split.metrics import Judge, metric_of
from tvm_split.request import Request

ROW = Graph("row", (Tensor("x", (1, 2), "float32"),), (), ("x",), ("x",))
TWO = Graph("two", (Tensor("x", (1, 2), "float32"), Tensor("y", (1, 2), "float32")), (), ("x", "y"), ("x",))
OWN = """import numpy as np
X = np.zeros((1, 2), "f")
def later():
    yield X
    yield X
    raise ValueError("disk gone")
def leaves():
    yield X
    raise SystemExit(0)
def deep():
    yield X
    np.zeros(2).reshape(3)
def labelled():
    for i in range(3):
        yield {"x": X + i, "labels": i}
def twice():
    yield {"x": X, "labels": 1}, 1
def bare():
    yield X
def score(outputs, label):
    raise SystemExit(3)
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_raising.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("function", "says"),
    [("later", r"ValueError: disk gone \(.*own_raising\.py, line 6, after 2 batches\)"),
     ("leaves", r"SystemExit: 0 \(.*own_raising\.py, line 9, after 1 batch\)"),
     ("deep", r"cannot reshape .* \(.*own_raising\.py, line 12, after 1 batch\)"),
     ("twice", "batch 0 has labels in its dict and beside it")],
)  # fmt: skip
def test_samples(function: str, says: str) -> None:
    with pytest.raises(DataError, match=f"own_raising:{function}: .*{says}"):
        load_labelled(f"own_raising:{function}", ROW)


def test_a_metric_that_leaves_the_command() -> None:
    judge = Judge(metric_of("own_raising:score", None, None), None, ["y"])
    with pytest.raises(DataError, match=r"score: SystemExit: 3 \(.*line 21\); on sample 5 of those checked"):
        judge.score(5, [np.zeros(2)], [np.zeros(2)])


def test_labels_in_a_dict() -> None:
    found = load_labelled("own_raising:labelled", ROW)
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2]


def test_an_array_for_one_of_two_inputs() -> None:
    with pytest.raises(DataError, match="this one has 'x', 'y': yield a dict of arrays by input name"):
        load_labelled("own_raising:bare", TWO)


@pytest.mark.parametrize("bad", range(4))
def test_a_label_beyond_the_classes_is_refused_on_calibrating_samples_too(
    bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros(4, int)
    labels[bad] = 99
    monkeypatch.setattr(workflow, "prepare", lambda _: (None, ROW))
    monkeypatch.setattr(workflow, "costs_of", lambda *_: pytest.fail("it passed"))
    monkeypatch.setattr(workflow.early, "check_names", lambda *_: None)
    with pytest.raises(DataError, match=f"the label of sample {bad} is 99, but the network has 2 classes"):
        workflow.plan(Request("m", data={"x": np.zeros((4, 2), "f"), "labels": labels}, samples=2, check=2))
