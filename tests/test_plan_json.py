"""The object of `--json` obeys the schema that ships with the package, and the schema refuses what is not in it."""

import copy
import json
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from tvm_split.calibration.ranges import Choice
from tvm_split.choice import Tolerance
from tvm_split.costs import Costs
from tvm_split.drop import drop_of
from tvm_split.plan.interval import Interval
from tvm_split.plan.problem import Candidate, Crossing, Link, Timing
from tvm_split.plan_json import to_json
from tvm_split.profile.queueing import under_load
from tvm_split.quantised import Quantised, WeightFacts
from tvm_split.quantizer import Quantizer

SCHEMA = json.loads((resources.files("tvm_split") / "plan.schema.json").read_text())


def _accuracy(**fields: object) -> SimpleNamespace:
    values = {"samples": 8, "top1_agreement": 1.0, "max_abs_error": 0.5, "mean_abs_error": 0.1, "relative_error": 0.02}
    drop = drop_of("top1", [1, 1, 0, 1], [1, 0, 0, 1])
    return SimpleNamespace(to_json=lambda: {**values, "drop": drop.to_json(), **fields}, drop=drop)


def _result(**accuracy: object) -> SimpleNamespace:
    crossing = (Crossing("h", (1, 8, 4, 4), 4, 64),)
    split = Candidate("split", ("stem", "block"), crossing, 900, Timing(0.2, 0.1, 0.3, 0.01))
    whole = Candidate("edge-only", ("stem", "block", "head"), (), 2000, Timing(1.0, 0.0, 0.0, 0.0))
    scored = (
        SimpleNamespace(
            candidate=split,
            label="split after block, 4 bits",
            measured=None,
            accuracy=_accuracy(**accuracy),
            predicted_drop=0.125,
            baseline=False,
        ),
        SimpleNamespace(
            candidate=whole,
            label="U8",
            measured=Timing(1.1, 0.0, 0.0, 0.0),
            accuracy=None,
            predicted_drop=None,
            baseline=True,
        ),
    )
    request = SimpleNamespace(strategy="exact", edge="raspberry-pi-4", cloud=Path("mine/attic.toml"), pareto=None,
                              every_solution=False, cloud_load=0.0, tolerance=Tolerance(0.01, 0.2))  # fmt: skip
    problem = SimpleNamespace(link=Link("3mbit", 375_000, 375_000, 0.0), memory_bytes=8 << 20)
    graph = SimpleNamespace(name="net")
    choice = Choice(Quantizer(4, 0.5, 3), -1.5, 6.0, "l3", 0.01)
    quantised = {split: Quantised({}, {"h": choice}, {}, {"stem": WeightFacts(8, "nearest", 1e-6)})}
    return SimpleNamespace(graph=graph, request=request, problem=problem, chosen=scored[0], candidates=scored,
                           calibrating=16, checking=4, quantised=quantised,
                           energy_j=lambda found: 2.5 if found is split else None, interval=None)  # fmt: skip


@pytest.mark.parametrize("accuracy", [{}, {"top1_agreement": None}, {"max_abs_error": None, "relative_error": None},
                                      {"drop": None}])  # fmt: skip
def test_the_object_is_the_issue_s_and_obeys_the_schema(accuracy: dict[str, object]) -> None:
    made = json.loads(json.dumps(to_json(_result(**accuracy)), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert list(made) == ["version", "model", "strategy", "devices", "link", "memory_bytes", "checks", "chosen",
                          "interval", "quantisation", "candidates"]  # fmt: skip
    assert made["checks"] == {
        "metric": "top1", "float": 0.75, "max_drop": 0.01, "max_error": 0.2, "calibrating": 16, "held_back": 4,
    }  # fmt: skip
    assert [each["baseline"] for each in made["candidates"]] == [None, "U8"]
    assert [each["predicted_drop"] for each in made["candidates"]] == [0.125, None]
    assert made["devices"] == {"edge": "raspberry-pi-4", "cloud": "mine/attic.toml"}
    assert made["link"] == {"name": "3mbit", "up_bytes_per_s": 375_000, "down_bytes_per_s": 375_000, "rtt_s": 0.0}
    assert made["memory_bytes"] == 8 << 20
    assert made["chosen"] == made["candidates"][0]
    assert made["chosen"]["crossing"] == [{"tensor": "h", "shape": [1, 8, 4, 4], "bits": 4, "bytes": 64}]
    assert made["chosen"]["payload_bytes"] == 64
    assert made["quantisation"] == {
        "tensors": [
            {
                "tensor": "h", "used": "crossing", "bits": 4, "method": "l3", "low": -1.5, "high": 6.0, "scale": 0.5,
                "zero_point": 3, "mse": 0.01,
            }
        ],
        "weights": [{"layer": "stem", "bits": 8, "rounding": "nearest", "mse": 1e-6}],
    }  # fmt: skip
    assert made["chosen"]["predicted"]["total_s"] == pytest.approx(0.61)
    assert made["candidates"][1]["measured"]["edge_s"] == 1.1
    assert [each["energy_j"] for each in made["candidates"]] == [2.5, None]
    assert made["candidates"][1]["accuracy"] is None


def test_the_interval_of_the_chosen_one_is_there_where_times_have_any() -> None:
    result = _result()
    assert to_json(result)["interval"] is None
    result.interval = Interval(0.3, 4.0)
    made = json.loads(json.dumps(to_json(result)))
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert made["interval"] == {"low_s": 0.3, "high_s": 4.0}


def test_a_load_of_the_cloud_is_told() -> None:
    result = _result()
    result.request.cloud_load = 0.5
    result.problem.cloud = under_load(Costs("c", "test", {"head": 0.2}), 0.5)
    made = json.loads(json.dumps(to_json(result)))
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert made["cloud_load"] == {"load": 0.5, "factor": 1.5, "service_s": 0.2}


@pytest.mark.parametrize(
    "path, value",
    [
        (("extra",), 1),
        (("version",), 1),
        (("candidates",), []),
        (("devices", "phone"), "x"),
        (("memory_bytes",), 0),
        (("quantisation", "tensors", 0, "scale"), 0),
        (("quantisation", "tensors", 0, "used"), "cloud"),
        (("quantisation", "weights", 0, "rounding"), "up"),
        (("chosen", "kind"), "both"),
        (("chosen", "label"), "x"),
        (("interval",), {"low_s": 0.1}),
        (("chosen", "payload_bytes"), 1.5),
        (("chosen", "predicted", "edge_s"), -1),
        (("chosen", "predicted", "wait_s"), 0),
        (("chosen", "accuracy", "top1_agreement"), 1.5),
        (("chosen", "accuracy", "drop", "samples"), 0),
        (("chosen", "energy_j"), -1),
        (("chosen", "baseline"), 4),
        (("checks", "held_back"), 0),
    ],
)
def test_the_schema_refuses(path: tuple[str, ...], value: object) -> None:
    made = copy.deepcopy(to_json(_result()))
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
