"""`tvm-split bench`: a small network all the way, and what bad input says."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from tvm_split.bench import compiled
from tvm_split.bench.loaded import BenchRequest
from tvm_split.bench.network import bench
from tvm_split.bench.result import DEFAULT, ONNXRUNTIME, OURS, OURS_FLOAT32
from tvm_split.cli import cli
from tvm_split.errors import BuildError

SCHEMA = json.loads((resources.files("tvm_split") / "bench.schema.json").read_text())


def test_json_alone_on_stdout_and_progress_on_stderr(two_layers: Path) -> None:
    words = ["bench", str(two_layers), "--threads", "1", "--repeats", "2", "--shape", "x=2x3x8x8", "--json"]
    done = subprocess.run([sys.executable, "-m", "tvm_split.cli", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert (made["model"], made["precision"], made["threads"]) == ("two.onnx", "float32", 1)
    assert made["tvm_default_ms"] > 0
    assert made["ratio_to_onnxruntime"] == pytest.approx(made["ours_ms"] / made["onnxruntime_ms"])
    assert made["max_abs_difference"] < 1e-4
    assert sum(layer["flops"] for layer in made["layers"]) >= 2 * 2 * (4 * 36 * 27 + 5 * 144)
    assert "timing tvm-split, onnxruntime, TVM default by turns, 2 rounds" in done.stderr


def test_a_busy_machine_is_told(two_layers: Path, alone: list[float | None]) -> None:
    alone[:] = [0.0, 1.5]  # when the kernels are to be timed
    result = bench(BenchRequest(str(two_layers), threads=1, repeats=1, default=False))
    (said,) = result.warnings
    assert said.startswith("other processes keep 1.5 of ") and result.busy_cores == 1.5


def test_int8_runs_the_quantised_network_in_both(two_layers: Path, tmp_path: Path) -> None:
    data = tmp_path / "calibration.npz"
    np.savez(data, x=np.random.default_rng(0).random((4, 3, 8, 8), np.float32))
    request = BenchRequest(str(two_layers), "int8", threads=1, repeats=1, default=False, data=data)
    result = bench(request)
    assert list(result.calls) == [OURS, ONNXRUNTIME, OURS_FLOAT32]
    assert result.warnings == ()
    made = result.to_json()
    jsonschema.validate(made, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert made["precision"] == "int8"
    assert made["ratio_to_float32"] == pytest.approx(made["ours_ms"] / made["ours_float32_ms"])
    assert any("quantize" in layer.op for layer in result.layers)
    assert result.max_abs_difference is not None and result.max_abs_difference < 1


@pytest.mark.parametrize("precision", [None, "int8"])
def test_a_quantised_file_is_timed_as_it_is(quantised_layers: Path, precision: str | None) -> None:
    result = bench(BenchRequest(str(quantised_layers), precision, threads=1, repeats=1, default=False))
    assert (result.precision, list(result.calls)) == ("int8", [OURS, ONNXRUNTIME])
    assert result.to_json()["ours_float32_ms"] is result.to_json()["ratio_to_float32"] is None
    assert result.warnings == ()


def test_a_quantised_file_is_not_timed_in_float32(quantised_layers: Path) -> None:
    done = CliRunner().invoke(cli, ["bench", str(quantised_layers), "--precision", "float32"])
    assert done.exit_code == 2 and "the network is quantised already; leave --precision out" in done.stderr


def test_a_default_that_cannot_be_compiled_is_left_out_and_told(
    two_layers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise BuildError("TVM's default pipeline cannot compile the network: no")

    monkeypatch.setattr(compiled, "compile_default", refuse)
    result = bench(BenchRequest(str(two_layers), threads=1, repeats=1))
    assert DEFAULT not in result.calls and result.to_json()["tvm_default_ms"] is None
    assert result.warnings == ("TVM's default pipeline cannot compile the network: no; it is left out",)


@pytest.mark.parametrize(
    "words, says",
    [
        (["none.onnx"], "none.onnx: there is no such file"),
        (["a.txt"], "a model file ends in .onnx"),
        (["zoo:nothing"], "the zoo has no network 'nothing'"),
        (["m.onnx", "--threads", "4096"], "threads is 4096; expected 1 to"),
        (["m.onnx", "--threads", "0"], "0 is not in the range"),
        (["m.onnx", "--repeats", "0"], "0 is not in the range"),
        (["m.onnx", "--precision", "int4"], "'int4' is not one of"),
        (["m.onnx", "--target", "nowhere"], "unknown target 'nowhere'"),
        (["m.onnx", "--target", "eyeriss"], "target 'eyeriss' is simulated, but bench runs networks on this machine"),
        (["m.onnx", "--shape", "x"], "an example: --shape image=1x3x320x320"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(words: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, ["bench", *words])
    assert done.exit_code == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_wrong_data_and_shapes_are_told(two_layers: Path) -> None:
    for words, says in (
        (["--data", "no.npz"], "no.npz: there is no such file"),
        (["--shape", "z=1x3x8x8"], "there is no input 'z' to give a shape"),
    ):
        done = CliRunner().invoke(cli, ["bench", str(two_layers), *words])
        assert done.exit_code == 2 and says in done.stderr


def test_int8_of_a_model_that_is_no_onnx_is_refused() -> None:
    pytest.importorskip("tflite")
    done = CliRunner().invoke(cli, ["bench", "zoo:wakeword-embedding", "--precision", "int8"])
    assert done.exit_code == 2 and "takes .onnx files only" in done.stderr


def test_every_option_is_explained() -> None:
    done = CliRunner().invoke(cli, ["bench", "--help"])
    assert done.exit_code == 0
    assert all(param.help for param in cli.commands["bench"].params if param.param_type_name == "option")
