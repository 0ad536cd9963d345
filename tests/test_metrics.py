"""Scores by hand, labels that do not fit, and a user's own function."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import DataError, PlanError
from tvm_split.metrics import Judge, metric_of, same_class

LABELS = np.array([0, 2])


def score(metric, row, label=None, reference=None):
    arrays = [np.asarray(each, np.float32)[np.newaxis] for each in (row if reference is None else reference, row)]
    judge = Judge(metric, None if label is None else np.array([label]), ["y"])
    return judge.score(0, [arrays[0]], [arrays[1]])


def test_what_is_measured_follows_from_labels_and_network():
    assert metric_of(None, LABELS, 3).name == "top1"
    assert metric_of(None, None, 3).name == "agreement" and metric_of(None, None, 3).one_sided
    assert metric_of(None, LABELS, None) is None
    assert metric_of("agreement", LABELS, 3).name == "agreement"


def test_scores_by_hand():
    row = [1, 9, 3, 5, 4, 2, 8]
    top1, top5 = metric_of("top1", LABELS, 7), metric_of("top5", LABELS, 7)
    assert [score(top1, row, label) for label in range(7)] == [0, 1, 0, 0, 0, 0, 0]
    assert [score(top5, row, label) for label in range(7)] == [0, 1, 1, 1, 1, 0, 1]
    agreement = metric_of(None, None, 7)
    assert score(agreement, row, reference=[0, 1, 0, 0, 0, 0, 0]) == 1
    assert score(agreement, row, reference=[1, 0, 0, 0, 0, 0, 0]) == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.data())
def test_of_equal_scores_the_first_is_best(row, data):
    label = data.draw(st.integers(0, len(row) - 1))
    order = np.argsort(-np.array(row), kind="stable")
    for name, best in (("top1", 1), ("top5", 5)):
        metric = metric_of(name, np.array([label]), len(row))
        assert score(metric, row, label) == float(label in order[:best])


def test_a_score_that_is_no_number_is_not_right():
    assert score(metric_of("top1", LABELS, 3), [np.nan, 1, 2], 0) == 0
    assert score(metric_of("top1", LABELS, 3), [np.nan, 1, 2], 2) == 0


@pytest.mark.parametrize(
    ("wanted", "labels", "classes", "error", "says"),
    [
        ("top3", LABELS, 3, PlanError, "no metric 'top3' .*expected top1, top5, agreement or module:function"),
        ("top1", None, 3, DataError, "needs labels, and the data has none; give a .csv"),
        ("agreement", None, None, PlanError, "needs class scores"),
        ("top1", np.array([3]), 3, DataError, "a label is 3, but the network has 3 classes, 0 to 2"),
        ("no_such_module:f", None, 3, DataError, "no_such_module:f: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_measured(wanted, labels, classes, error, says):
    with pytest.raises(error, match=says):
        metric_of(wanted, labels, classes)


def test_a_label_beyond_the_classes_is_named_with_its_file_and_sample():
    places = [f"d.npz: the label of sample {i}" for i in (1, 3, 5)]
    with pytest.raises(DataError, match=r"d\.npz: the label of sample 3 is 9, but the network has 3 classes, 0 to 2"):
        metric_of("top1", np.array([2, 9, 10]), 3, places)


OWN = """
def mean(outputs, label):
    import beside_mean
    return outputs["y"].mean() + beside_mean.SHIFT * (label or 0)

def text(outputs, label):
    return "good"

def huge(outputs, label):
    return 1e308


def nan(outputs, label):
    return float("nan")

def breaks(outputs, label):
    raise KeyError("boxes")

class Tensor:
    def __float__(self):
        raise RuntimeError("cannot convert to scalar")

def tensor(outputs, label):
    return Tensor()

def in_place(outputs, label):
    outputs["y"] -= outputs["y"].max()
    return 0.0
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_metrics.py").write_text(OWN)
    (tmp_path / "beside_mean.py").write_text("SHIFT = 10")
    monkeypatch.chdir(tmp_path)
    return "own_metrics"


def test_a_user_s_own(own):
    metric = metric_of(f"{own}:mean", None, None)
    assert score(metric, [1, 2, 6]) == 3 and score(metric, [1, 2, 6], 2) == 23


@pytest.mark.parametrize(
    ("function", "says"),
    [("text", "returns str; expected one number"), ("nan", "returns nan"),
     ("huge", r"returns 1e\+308; expected .*at most 1e\+100"),
     ("breaks", "own_metrics:breaks: KeyError"),
     ("tensor", "the metric returns Tensor; expected one number .cannot convert to scalar"),
     ("absent", "has no function 'absent'")],
)  # fmt: skip
def test_a_bad_one(own, function, says):
    with pytest.raises(DataError, match=says):
        score(metric_of(f"{own}:{function}", None, None), [1, 2])


def test_a_function_that_works_in_place_changes_nothing(own):
    row = np.array([1.0, 2.0])
    assert score(metric_of(f"{own}:in_place", None, None), row) == 0
    judge = Judge(metric_of(f"{own}:in_place", None, None), None, ["y"])
    judge.score(0, [row], [row])
    np.testing.assert_array_equal(row, [1.0, 2.0])


def test_scores_that_are_not_numbers_agree_with_nothing():
    assert same_class(np.array([1.0, 0.0]), np.array([3.0, 2.0]))
    assert not same_class(np.array([1.0, 0.0]), np.array([np.nan, np.nan]))
    assert not same_class(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
