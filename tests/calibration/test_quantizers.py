"""held_choices: one quantiser a group, over all its values, as wide as its widest tensor."""

import numpy as np
import pytest

from tvm_split.calibration.quantizers import held_choices
from tvm_split.calibration.statistics import Statistics

GROUPS = [frozenset({"a", "b"})]


@pytest.fixture
def statistics():
    values = {"a": np.array([0.0, 1.0]), "b": np.array([-3.0, 2.0]), "c": np.array([0.0, 7.0])}
    return {name: Statistics.of(array.astype("float32")) for name, array in values.items()}


def test_a_group_has_one_quantiser_for_all_its_values(statistics):
    found = held_choices(statistics, {"a": 4, "b": 8, "c": 2}, GROUPS, "min-max")
    assert found["a"] == found["b"] and (found["a"].low, found["a"].high) == (-3, 2)
    assert {name: choice.quantizer.bits for name, choice in found.items()} == {"a": 8, "b": 8, "c": 2}


def test_a_tensor_of_a_group_that_is_not_held_has_no_say(statistics):
    found = held_choices(statistics, {"a": 4}, GROUPS, "min-max")
    assert list(found) == ["a"] and (found["a"].low, found["a"].high) == (0, 1)


def test_channels_need_not_agree(statistics):
    statistics["a"] = Statistics.of(np.zeros((1, 3, 2), "float32"), 1)
    assert held_choices(statistics, {"a": 8, "b": 8}, GROUPS)["a"].high >= 2
