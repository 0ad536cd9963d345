"""Which cuts and pictures are taken, evenly."""

import numpy as np
import pytest


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
