"""Samples in two: as many as wanted, interleaved, none in both."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.data import Samples
from tvm_split.graph import Graph, Tensor
from tvm_split.held_back import divide, samples_of
from tvm_split.request import Request


def samples(count: int) -> Samples:
    return Samples([{"x": np.array([i])} for i in range(count)], np.arange(count) * 10, count)


def numbers(batches: list[dict[str, np.ndarray]]) -> list[int]:
    return [int(batch["x"][0]) for batch in batches]


@given(st.integers(2, 60), st.integers(1, 40), st.integers(1, 40))
def test_each_sample_is_of_one_kind_and_each_kind_is_spread_evenly(count: int, calibrate: int, check: int) -> None:
    found = divide(samples(count), calibrate, check)
    own, back = numbers(found.calibrating), numbers(found.checking)
    total = min(count, calibrate + check)
    assert sorted(own + back) == list(range(total)) and own and back
    assert list(found.labels) == [10 * i for i in back] and not found.shared
    if count >= calibrate + check:
        assert (len(own), len(back)) == (calibrate, check)
    else:
        assert len(own) == min(calibrate, max(total - check, total // 2)) and len(back) <= check
    for few, many in ((own, total / len(own)), (back, total / len(back))):
        gaps = np.diff([-1, *few])
        assert gaps.max() <= np.ceil(many) + 1


def test_by_hand() -> None:
    found = divide(samples(9), 2, 4)
    assert (numbers(found.calibrating), numbers(found.checking)) == ([2, 5], [0, 1, 3, 4])
    found = divide(samples(4), 16, 16)
    assert (numbers(found.calibrating), numbers(found.checking)) == ([1, 3], [0, 2])
    assert [len(divide(samples(12), *wanted).calibrating) for wanted in ((16, 32), (4, 32), (16, 3))] == [6, 4, 9]


def test_one_sample_is_of_both_kinds_and_says_so() -> None:
    found = divide(samples(1), 8, 8)
    assert numbers(found.calibrating) == numbers(found.checking) == [0] and found.shared
    assert list(found.labels) == [0]
    assert divide(Samples(samples(3).batches, None, 3), 1, 1).labels is None


ROW = Graph("row", (Tensor("x", (1, 2), "float32"),), (), ("x",), ("x",))


def test_the_samples_of_a_request() -> None:
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    found, said = samples_of(Request("m", data={"x": rows, "labels": np.arange(20)}, samples=2, check=3), ROW)
    assert (len(found.calibrating), len(found.checking), len(found.labels)) == (2, 3, 3)
    assert said == ["5 of the 20 samples are used; give --check 18 for all."]
    for batch, label in zip(found.checking, found.labels, strict=True):
        np.testing.assert_array_equal(batch["x"], rows[label : label + 1])
    assert samples_of(Request("m", data={"x": rows}, samples=2, check=18), ROW)[1] == []


def test_random_samples_are_few_and_a_caution() -> None:
    found, (said,) = samples_of(Request("m", samples=3), ROW)
    assert (len(found.calibrating), len(found.checking), found.labels) == (3, 4, None)
    assert said.startswith("No --data was given")


def test_all_that_was_read_is_kept_with_the_places_of_its_labels():
    found = samples(6)
    placed = Samples(found.batches, found.labels, 6, [f"row {i}" for i in range(6)])
    for counts in ((2, 4), (3, 3), (1, 1)):
        assert divide(placed, *counts).read is placed
