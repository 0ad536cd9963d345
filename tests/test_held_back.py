"""Samples in two: as many as wanted, interleaved, none in both."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.data import Samples
from tvm_split.held_back import divide


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
