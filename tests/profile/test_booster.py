"""A device's model with wrong numbers in it is refused by name, before XGBoost follows them out of its memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.profile.made_records import layers
from tvm_split.errors import CostError
from tvm_split.profile import cost_model
from tvm_split.profile.composition import Composition
from tvm_split.profile.cost_model import MOST_S
from tvm_split.profile.device_model import DeviceModel, summary


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    model, errors = cost_model.fit(layers(60))
    path = tmp_path_factory.mktemp("model") / "host.json"
    counts, known = {"layers": 60, "halves": 0}, {"layers": summary(errors), "halves": None}
    DeviceModel({"target": "host"}, "2026-01-02", model, Composition(), counts, known).save(path)
    return path.read_text()


def booster(data: dict[str, Any]) -> dict[str, Any]:
    return data["layers"]["boosters"]["middle"]["learner"]


def tree(data: dict[str, Any]) -> dict[str, Any]:
    return booster(data)["gradient_booster"]["model"]["trees"][0]


def entry(name: str, index: int, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: tree(data)[name].__setitem__(index, value)


def cycle(data: dict[str, Any]) -> None:
    for name in ("left_children", "right_children"):
        tree(data)[name][0] = 0


def two_parents(data: dict[str, Any]) -> None:
    tree(data)["right_children"][0] = tree(data)["left_children"][0]


def cut_loose(data: dict[str, Any]) -> None:
    for name in ("left_children", "right_children"):
        tree(data)[name][0] = -1


def shorter(data: dict[str, Any]) -> None:
    tree(data)["split_conditions"] = tree(data)["split_conditions"][:1]


def categories(data: dict[str, Any]) -> None:
    tree(data)["split_type"][0] = 1


def fewer_rounds(data: dict[str, Any]) -> None:
    booster(data)["gradient_booster"]["model"]["iteration_indptr"].pop()


def errors(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.update(errors=value)


NAN = float("nan")
GOOD = {"median": 0.1, "p90": 0.2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (errors({}), "the median of the errors of layers is None; expected a number from 0"),
        (errors({"layers": GOOD}), "errors of halves is None"),
        (errors({"layers": None, "halves": None}), "errors of layers is None"),
        (errors({"layers": {**GOOD, "median": "x"}, "halves": None}), "is 'x'"),
        (errors({"layers": {**GOOD, "p90": NAN}, "halves": None}), "the p90 of the errors of layers is nan"),
        (errors({"layers": GOOD, "halves": {**GOOD, "median": -5}}), "the median of the errors of halves is -5"),
        (lambda data: data["fitted_to"].update(layers=-1), "fitted_to has layers -1"),
        (lambda data: data["layers"].update(widen="nan"), "widen is 'nan'"),
        (lambda data: data["layers"].update(widen=NAN), "widen is nan"),
        (lambda data: data["layers"].update(widen=1e6), "widen is 1000000.0"),
        (lambda data: data["layers"].update(rules=5), "rules are 5"),
        (lambda data: data["layers"].update(rules="abc"), "rules are 'abc'"),
        (lambda data: data["layers"]["rules"].append("zzz"), "its num_feature is '340'; expected 341"),
        (lambda data: data["layers"].update(rules=[]), "its num_feature is '340'; expected 338"),
        (lambda data: data["layers"].update(boosters=[1]), "'middle' cannot be read"),
        (lambda data: data["layers"]["boosters"].update(low="{}"), "'low' cannot be read: its JSON is '{}'"),
        (lambda data: data["layers"]["boosters"].update(high={"version": [3, 0, 0]}), "its learner is None"),
        (lambda data: booster(data)["learner_model_param"].update(base_score="[nan]"), "base_score is '[nan]'"),
        (lambda data: booster(data).update(feature_types=["c"]), "it names its features"),
        (lambda data: booster(data)["objective"].update(name="rank:ndcg"), "no model of trees"),
        (lambda data: booster(data)["objective"].update(name="reg:squarederror"), "trees for reg:quantileerror"),
        (fewer_rounds, "are not one a round"),
        (entry("left_children", 0, 10**6), "tree 0: node 0 has child 1000000; expected a later one"),
        (entry("left_children", 0, -7), "node 0 has child -7"),
        (entry("left_children", 0, 1.5), "its left_children are not all whole numbers"),
        (entry("parents", 0, 0), "its nodes are no tree"),
        (entry("parents", 1, 2), "whose parent it is"),
        (entry("split_indices", 0, 2**30), "it splits on a feature that is none of 0 to 339"),
        (entry("split_indices", 0, -1), "it splits on a feature"),
        (entry("split_conditions", 0, NAN), "its split_conditions are not all finite"),
        (entry("split_conditions", 0, 10**400), "its split_conditions are not all finite"),
        (entry("base_weights", 0, "1"), "its base_weights are not all finite"),
        (cycle, "node 0 has child 0"),
        (two_parents, "its nodes are no tree"),
        (cut_loose, "its nodes are no tree"),
        (shorter, "its split_conditions has not as many entries"),
        (categories, "categories or several outputs"),
        (lambda data: tree(data)["tree_param"].update(num_nodes="9999"), "its num_nodes is '9999'"),
    ],
)  # fmt: skip
def test_wrong_numbers(written: str, tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    data = json.loads(written)
    change(data)
    path = tmp_path / "other.json"
    path.write_text(json.dumps(data))
    with pytest.raises(CostError) as caught:
        DeviceModel.load(path)
    assert str(caught.value).startswith(f"{path}: ") and says in str(caught.value)


def test_parameters_of_training_are_not_read(written: str, tmp_path: Path) -> None:
    """XGBoost would take a quantile of 7 on trust, and fail when it predicts."""
    data = json.loads(written)
    wrong = {"name": "reg:quantileerror", "quantile_loss_param": {"quantile_alpha": "[7,8,9]"}}
    booster(data)["objective"] = wrong
    (tmp_path / "other.json").write_text(json.dumps(data))
    (tmp_path / "same.json").write_text(written)
    found, same = (DeviceModel.load(tmp_path / name).layers.seconds(layers(5)) for name in ("other.json", "same.json"))
    assert found == same


def test_predictions_are_times_whatever_the_leaves_say(written: str, tmp_path: Path) -> None:
    data = json.loads(written)
    trees = data["layers"]["boosters"]["high"]["learner"]["gradient_booster"]["model"]["trees"]
    for each in trees:
        each["base_weights"] = [9e9] * len(each["base_weights"])
        each["split_conditions"] = [9e9] * len(each["split_conditions"])
    (tmp_path / "other.json").write_text(json.dumps(data))
    for middle, low, high in DeviceModel.load(tmp_path / "other.json").layers.seconds(layers(5)):
        assert 0 < low <= middle <= high <= MOST_S


@pytest.mark.parametrize(
    ("change", "says"),
    [({"device": {"threads": {"a": 1}}}, "threads are {'a': 1}"), ({"device": {"threads": NAN}}, "threads are nan"),
     ({"date": "\x1b[31m"}, "its date is"), ({"composition": {"scale": 10**400}}, "the composition of layers is")],
)  # fmt: skip
def test_facts_that_would_be_printed(written: str, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({**json.loads(written), **change}))
    with pytest.raises(CostError, match=says):
        DeviceModel.load(path)


def test_a_model_as_it_was_fitted_is_read_and_a_narrower_interval_too(written: str, tmp_path: Path) -> None:
    data = json.loads(written)
    data["layers"]["widen"] = -0.01
    (tmp_path / "a.json").write_text(json.dumps(data))
    ((middle, low, high),) = DeviceModel.load(tmp_path / "a.json").layers.seconds(layers(1))
    assert 0 < low <= middle <= high
