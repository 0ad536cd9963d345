import json
from dataclasses import replace

import pytest

from tests.profile.made_records import layers
from tvm_split.errors import CostError
from tvm_split.profile.cost_model import COVERED, CostModel, fit
from tvm_split.profile.feature_names import NAMES


@pytest.fixture(scope="module")
def fitted():
    return fit(layers(240))


def test_a_rule_of_features_and_schedules_is_learnt_and_holds_for_networks_held_back(fitted):
    errors = sorted(abs(error) for error in fitted[1])
    assert len(errors) == 240
    assert errors[120] < 0.02 and errors[216] < 0.1


def test_a_layer_ten_thousand_times_larger_is_no_new_case(fitted):
    small = layers(240)[0]
    features = list(small.features)
    features[NAMES.index("flops")] = 40.0  # of training, 10 to 30
    (one,), (other,) = fitted[0].seconds([small]), fitted[0].seconds([replace(small, features=tuple(features))])
    assert other[0] / one[0] == pytest.approx(2 ** (40 - small.features[NAMES.index("flops")]), rel=0.1)


def test_the_interval_holds_the_prediction_and_most_other_layers(fitted):
    others = layers(200, seed=1)
    found = fitted[0].seconds(others)
    assert all(low <= middle <= high for middle, low, high in found)
    held = sum(low <= record.seconds <= high for record, (_, low, high) in zip(others, found, strict=True))
    assert held >= (COVERED - 0.1) * len(others)


def test_survives_json_to_the_bit(fitted):
    model = CostModel.from_json(json.loads(json.dumps(fitted[0].to_json())))
    assert model.seconds(layers(20)) == fitted[0].seconds(layers(20))


def test_what_was_sampled_near_a_network_is_held_back_with_it():
    """The layers near net1 take ten times as long: only who has seen them knows."""
    others = layers(60, networks=1)
    near = [replace(record, network="net1", sample="1", seconds=10 * record.seconds) for record in layers(60, seed=1)]
    own = [replace(record, network="net1", seconds=10 * record.seconds) for record in layers(20, seed=2)]
    _, errors = fit([*others, *near, *own])
    assert max(errors[-20:]) < -0.8


def test_noise_teaches_nothing_and_is_predicted_all_the_same():
    """As a layer of a half it is needed: what was timed of it, ten times too much, is none of the model's."""
    noise = [replace(record, seconds=10 * record.seconds, spread=0.5) for record in layers(40, seed=1)]
    _, errors = fit([*layers(240), *noise])
    assert len(errors) == 280 and sorted(abs(error) for error in errors[:240])[120] < 0.02
    assert sorted(errors[240:])[20] == pytest.approx(-0.9, abs=0.02)


def test_of_one_network_its_samples_are_held_back_one_by_one():
    _, errors = fit([replace(record, network="net0", sample=str(i % 3)) for i, record in enumerate(layers(240))])
    assert sorted(abs(error) for error in errors)[120] < 0.05


def test_an_unknown_rule_is_none_of_the_known(fitted):
    assert fitted[0].seconds([replace(layers(1)[0], rule="New")])[0][0] > 0
    assert fitted[0].seconds([]) == []


@pytest.mark.parametrize("records", [layers(10), layers(60, networks=1)])
def test_too_little_is_refused_with_what_there_is(records):
    with pytest.raises(CostError, match=rf"{len(records)} layers of \d networks were timed; expected 20 or more"):
        fit(records)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"rules": None}, "rules"), ({"boosters": {"middle": {"a": 1}}}, "'middle' cannot be read"),
     ({"lines": {}}, "no line"), ({"lines": "*"}, "no line"),
     ({"lines": {"*": [1.0]}}, "expected 4 numbers"), ({"lines": {"*": [-1.0, 0, 0, 0]}}, "expected 4 numbers"),
     ({"lines": {"*": [float("nan"), 0, 0, 0]}}, "expected 4 numbers"), ({"widen": 1e9}, "widen")],
)  # fmt: skip
def test_what_is_no_cost_model_is_refused(fitted, change, words):
    with pytest.raises(CostError, match=words):
        CostModel.from_json({**fitted[0].to_json(), **change})
