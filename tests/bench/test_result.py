"""Medians, ratios, shares and differences; the JSON object and its schema."""

import copy
import json
import math
from dataclasses import replace
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest

from tvm_split.bench.result import DEFAULT, ONNXRUNTIME, OURS, BenchResult, Convolution, LayerTime, max_abs_difference
from tvm_split.bench.tables import engines_table, layers_table, sentences
from tvm_split.report import console

SCHEMA = json.loads((resources.files("tvm_split") / "bench.schema.json").read_text())
KEYS = [
    "version", "model", "precision", "threads", "ours_ms", "tvm_default_ms", "onnxruntime_ms", "ratio_to_onnxruntime",
    "max_abs_difference", "layers",
]  # fmt: skip
LAYERS = (
    LayerTime(
        "stem", "conv2d_bias_relu", 0.002, 400_000_000, 0.001, "conv2d", convolution=Convolution((3, 3), 64, 128, 1)
    ),
    LayerTime("view", "reshape", None, 0, None, None),
    LayerTime("head", "softmax", 0.001, 0, 0.0001, None),
)
RESULT = BenchResult(
    "net", "float32", 2, {OURS: (0.005, 0.003, 0.004), ONNXRUNTIME: (0.002, 0.009, 0.003, 0.001), DEFAULT: (1.0,)},
    1.5e-6, LAYERS, 230e9, {32768: 400e9, 1 << 20: 100e9},
)  # fmt: skip


def test_medians_and_ratio() -> None:
    assert RESULT.median_s(OURS) == 0.004
    assert RESULT.median_s(ONNXRUNTIME) == pytest.approx(0.0025)
    assert RESULT.ratio_to_onnxruntime == pytest.approx(1.6)
    assert RESULT.layers_s == pytest.approx(0.003)


def test_a_layer_s_rate_and_share() -> None:
    stem, view, _ = LAYERS
    assert stem.flops_per_s == pytest.approx(200e9)
    assert stem.share_of_limit == pytest.approx(0.5)
    assert view.flops_per_s is None and view.share_of_limit is None


def test_the_object_is_the_issue_s_and_obeys_the_schema() -> None:
    made = json.loads(json.dumps(RESULT.to_json(), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    ours_only = ["ours_float32_ms", "ratio_to_float32", "fastest_ms", "limits", "busy_cores", "versions"]
    assert list(made) == [*KEYS[:-1], *ours_only, KEYS[-1]]
    assert made["fastest_ms"] == {"ours": 3.0, "tvm_default": 1000.0, "onnxruntime": 1.0, "ours_float32": None}
    read = [{"bytes": 32768, "gb_per_s": 400.0}, {"bytes": 1 << 20, "gb_per_s": 100.0}]
    assert made["limits"] == {"gflops_per_s": 230.0, "int8_gops_per_s": None, "read": read}
    assert made["busy_cores"] is None and replace(RESULT, busy_cores=0.5).to_json()["busy_cores"] == 0.5
    assert set(made["versions"]) == {"tvm-split", "apache-tvm", "apache-tvm-ffi", "onnxruntime"}
    assert (made["ours_ms"], made["tvm_default_ms"], made["onnxruntime_ms"]) == (4.0, 1000.0, pytest.approx(2.5))
    assert made["ratio_to_onnxruntime"] == pytest.approx(made["ours_ms"] / made["onnxruntime_ms"])
    assert made["layers"][0] == {
        "name": "stem", "op": "conv2d_bias_relu", "ms": 2.0, "flops": 400_000_000, "gflops_per_s": pytest.approx(200),
        "limit_ms": 1.0, "share_of_limit": pytest.approx(0.5), "rule": "conv2d", "int8": False,
        "convolution": {"kernel": [3, 3], "channels_in": 64, "channels_out": 128, "groups": 1},
    }  # fmt: skip
    assert made["layers"][1]["ms"] is None


@pytest.mark.parametrize("difference", [None, math.inf])
def test_engines_that_did_not_run_are_null(difference: float | None) -> None:
    made = replace(RESULT, calls={OURS: [0.1]}, max_abs_difference=difference).to_json()
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    for key in ("tvm_default_ms", "onnxruntime_ms", "ratio_to_onnxruntime", "max_abs_difference"):
        assert made[key] is None


@pytest.mark.parametrize(
    "path, value",
    [
        (("extra",), 1),
        (("version",), 2),
        (("precision",), "float16"),
        (("threads",), 0),
        (("limits", "gflops_per_s"), None),
        (("fastest_ms", "ours"), 0),
        (("busy_cores",), -1),
        (("ours_ms",), None),
        (("onnxruntime_ms",), 0),
        (("layers", 0, "rule"), 3),
        (("layers", 0, "seconds"), 1.0),
        (("layers", 0, "flops"), 1.5),
    ],
)
def test_the_schema_refuses(path: tuple[Any, ...], value: object) -> None:
    made: Any = copy.deepcopy(RESULT.to_json())
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "ours, theirs, difference",
    [
        ([[1.0, 2.0]], [[1.0, 2.5]], 0.5),
        ([[1.0], [7.0]], [[1.25], [3.0]], 4.0),
        ([[math.nan, math.inf]], [[math.nan, math.inf]], 0.0),
        ([[math.nan]], [[1.0]], math.inf),
        ([[math.inf]], [[-math.inf]], math.inf),
        ([[1.0]], [[1.0], [1.0]], math.inf),
        ([[1.0]], [[1.0, 2.0]], math.inf),
        ([[]], [[]], 0.0),
        ([], [], 0.0),
    ],
)
def test_largest_difference(ours: list[Any], theirs: list[Any], difference: float) -> None:
    made = [[np.array(each, np.float32) for each in side] for side in (ours, theirs)]
    assert max_abs_difference(*made) == difference


def test_unsigned_outputs_do_not_wrap_around() -> None:
    assert max_abs_difference([np.array([3], np.uint8)], [np.array([5], np.uint8)]) == 2


def test_the_tables_name_what_no_rule_took_and_who_did_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.print(engines_table(replace(RESULT, calls={OURS: [0.004], ONNXRUNTIME: [0.0025]})))
    out.print(layers_table(RESULT))
    said = list(sentences(RESULT))
    text = capsys.readouterr().out
    rows = {words[0]: words for line in text.splitlines() if (words := line.split())}
    assert rows["tvm-split"][1:3] == ["4", "ms"] and rows["tvm-split"][-1] == "1.6"
    assert rows["TVM"][-2:] == ["not", "run"]
    assert rows["stem"] == ["stem", "conv2d_bias_relu", "conv2d", "2", "ms", "66.7", "%", "400.0", "200.0", "50", "%"]
    assert rows["view"][2:4] == ["no", "kernel"]
    assert rows["head"][2] == "none"
    assert "2 kernels together: 3 ms, the whole network: 4 ms" in said
    assert "no schedule rule took 1 kernel (33 % of the time): head" in said
    assert not any("but the default one" in line for line in said)
    assert any("onnxruntime's: 1.5e-06" in line for line in said)


def test_int8_layers_and_those_of_the_default_rule_are_named() -> None:
    layers = (
        LayerTime("stem", "conv2d_bias", 0.002, 400_000_000, 0.001, "Packed", int8=True),
        LayerTime("sums", "cumsum", 0.001, 0, 0.0001, "Default"),
        LayerTime("order", "sort", 0.001, 0, 0.0001, "Default"),
    )
    result = replace(RESULT, precision="int8", layers=layers, peak_int8_ops_per_s=900e9)
    said = list(sentences(result))
    assert "no schedule rule but the default one took 2 kernels (50 % of the time): sums, order" in said
    assert any("230 GFLOP/s in float32, 900 G op/s in int8; reading" in line for line in said)
    assert not any("in int8" in line for line in sentences(replace(result, layers=LAYERS)))
    assert [column.header for column in layers_table(result).columns][5:7] == ["Mop", "G op/s"]
    assert [layer["int8"] for layer in result.to_json()["layers"]] == [True, False, False]
    jsonschema.validate(result.to_json(), SCHEMA, cls=jsonschema.Draft202012Validator)
