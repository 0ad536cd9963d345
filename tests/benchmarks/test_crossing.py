"""Which cuts and pictures are taken, evenly; which pictures calibrate, and what is right of the others."""

import numpy as np
import pytest

from tvm_split.errors import DataError


@pytest.fixture(scope="module")
def crossing(script):
    return script("crossing")


def test_cuts_are_spread_from_the_first_to_the_last(crossing):
    assert crossing.spread("abcdefghi", 3) == ["a", "e", "i"]
    assert crossing.spread("abcdefghi", 1) == ["a"]
    assert crossing.spread("ab", 5) == ["a", "b"]


def test_pictures_are_taken_evenly_with_their_classes(script):
    evenly = script("accuracy").evenly
    batches, labels = [{"x": np.full(1, i)} for i in range(7)], np.arange(7)
    some, classes = evenly(batches, labels, 3)
    assert classes.tolist() == [0, 2, 4] == [int(batch["x"][0]) for batch in some]
    assert evenly(batches, labels, None) == (batches, labels)
    assert evenly(batches, labels, 9)[0] == batches


def test_one_picture_in_so_many_calibrates_and_is_not_held_back(script):
    split = script("accuracy").split
    batches = [{"x": np.full(1, i)} for i in range(5)]
    calibrating, back = split(None, 3, batches, None)
    assert [int(batch["x"][0]) for batch in calibrating] == [0, 3]
    assert back.tolist() == [False, True, True, False, True]
    for count, every in ((5, 1), (1, 8)):
        with pytest.raises(DataError, match=f"{count} pictures, one in {every} of which calibrates, leave none"):
            split(None, every, batches[:count], None)


def test_shares_of_all_and_of_those_held_back(crossing):
    back = np.array([False, True, True, False])
    found = crossing.top1([True, True, False, True], back, "_min_max")
    assert found == {"top1_min_max": 0.75, "held_back_min_max": 0.5}
