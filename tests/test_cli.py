"""The command line: what options become, tables, and one JSON object on stdout."""

import importlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tvm_split import prepare, workflow
from tvm_split.choice import Tolerance
from tvm_split.cli import cli
from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.problem import Candidate, Crossing, Link, Timing
from tvm_split.profile.queueing import under_load
from tvm_split.quantised import Quantised

COMMANDS = (
    "compile",
    "plan",
    "layers",
    "run",
    "measure",
    "tune",
    "demo",
    "targets",
    "links",
    "link",
    "planners",
    "passes",
    "zoo",
    "doctor",
)


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[workflow.Request]:
    """The requests that reach workflow.plan, which answers with a made-up result."""
    requests: list[workflow.Request] = []

    def plan(request: workflow.Request, progress: Callable[[str], None]) -> Any:
        progress("planning")
        requests.append(request)
        return result_of(request)

    monkeypatch.setattr(workflow, "plan", plan)
    return requests


def result_of(request: workflow.Request) -> Any:
    split = Candidate("split", ("a",), (Crossing("h", (8,), 4, 4),), 10, Timing(0.1, 0.1, 0.1, 0.0))
    scored = workflow.Scored(split, "split after a, 4 bits")
    costs = Costs("t", "test", {"a": 0.1, "b": 0.2})
    return SimpleNamespace(
        request=request, graph=SimpleNamespace(name="net"), chosen=scored, candidates=(scored,), spans=(),
        calibrating=2, checking=2,
        problem=SimpleNamespace(
            link=Link("4g", 1e5, 1e5), edge=costs, cloud=costs, memory_bytes=request.memory_bytes
        ), warnings=("No --data was given.",), front=(), solutions=(), quantised={split: Quantised()},
        energy_j=lambda _: None, edge_w=None, front_is_whole=True, interval=None,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_each_option(command: str) -> None:
    done = call(command, "--help")
    assert done.exit_code == 0
    options = [param for param in cli.commands[command].params if param.param_type_name == "option"]
    assert all(param.help for param in options)
    assert "--debug" in done.output


def test_help_does_not_import_tvm() -> None:
    code = "import sys; from tvm_split.cli import cli; cli.main(['plan', '--help'], standalone_mode=False); "
    done = subprocess.run([sys.executable, "-c", code + "sys.exit('tvm' in sys.modules)"], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_options_become_a_request(asked: list[workflow.Request], tmp_path: Path) -> None:
    for name in ("edge.json", "cloud.json"):
        (tmp_path / name).write_text("{}")
    done = call(
        "plan", "m.onnx", "--edge", "raspberry-pi-5", "--cloud", "host", "--link", "3mbit", "--memory", "8MiB",
        "--cut-bits", "2,4", "--bits", "h*=3", "--pin", "stem*=edge", "--shape", "a:0=1x3x32x32",
        "--result-at", "cloud",
        "--strategy", "min-cut", "--max-drop", "1%", "--metric", "top5", "--check", "5", "--baselines",
        "--preprocess", "imagenet", "--data", "d.npz",
        "--costs", f"{tmp_path}/edge.json,{tmp_path}/cloud.json", "--samples", "3", "--max-error", "0.3",
        "--edge-bits", "8,32", "--no-winograd", "--objective", "payload", "--pareto", "memory", "--all",
        "--distortion", "output", "--cloud-load", "0.25",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (request,) = asked
    assert (request.model, request.edge, request.cloud, request.link) == ("m.onnx", "raspberry-pi-5", "host", "3mbit")
    assert (request.memory_bytes, request.cut_bits, request.samples) == (8 * 2**20, (2, 4), 3)
    assert (request.edge_bits, request.winograd, request.distortion) == ((8, 32), False, "output")
    assert (request.tensor_bits, request.pins, request.shapes) == (
        {"h*": 3}, {"stem*": "edge"}, {"a:0": (1, 3, 32, 32)},
    )  # fmt: skip
    assert (request.result_at, request.strategy, request.metric) == ("cloud", "min-cut", "top5")
    assert (request.objective, request.pareto, request.every_solution) == ("payload", "memory", True)
    assert (request.check, request.baselines, request.tolerance) == (5, True, Tolerance(0.01, 0.3))
    assert request.costs == (tmp_path / "edge.json", tmp_path / "cloud.json")
    assert request.cloud_load == 0.25
    assert (request.preprocess, request.data) == ("imagenet", Path("d.npz"))


def test_defaults_are_those_of_the_request(asked: list[workflow.Request]) -> None:
    assert call("plan", "m.onnx").exit_code == 0
    assert asked == [workflow.Request("m.onnx")]


@pytest.mark.parametrize("text, share", [("1%", 0.01), ("0.01", 0.01), ("2.5 %", 0.025), ("0", 0.0), ("100%", 1.0)])
def test_shares(asked: list[workflow.Request], text: str, share: float) -> None:
    assert call("plan", "m.onnx", "--max-drop", text).exit_code == 0
    assert asked[0].tolerance.max_drop == pytest.approx(share) and asked[0].wanted_metric is None


def test_min_agreement_is_another_name_for_a_drop_of_agreement(asked: list[workflow.Request]) -> None:
    assert call("plan", "m.onnx", "--min-agreement", "0.9").exit_code == 0
    assert asked[0].tolerance.max_drop == pytest.approx(0.1) and asked[0].wanted_metric == "agreement"


@pytest.mark.parametrize("text, size", [("8MB", 8_000_000), ("65536", 65_536), ("1.5KiB", 1536), ("2 gb", 2 * 10**9)])
def test_memory_units(asked: list[workflow.Request], text: str, size: int) -> None:
    assert call("plan", "m.onnx", "--memory", text).exit_code == 0
    assert asked[0].memory_bytes == size


def test_json_is_one_object_on_stdout_and_the_rest_on_stderr(asked: list[workflow.Request]) -> None:
    done = call("plan", "m.onnx", "--json")
    assert json.loads(done.stdout)["chosen"]["kind"] == "split"
    assert "planning" in done.stderr and "warning: No --data was given." in done.stderr
    assert "planning" not in call("plan", "m.onnx", "--json", "--quiet").stderr


def test_plan_prints_table_and_reason_and_saves_costs(asked: list[workflow.Request], tmp_path: Path) -> None:
    done = call("plan", "m.onnx", "--save-costs", str(tmp_path / "costs"))
    assert "split after a, 4 bits" in done.stdout and "Chosen:" in done.stdout
    assert Costs.load(tmp_path / "costs" / "edge.json").layer_s == {"a": 0.1, "b": 0.2}


def test_saved_costs_that_are_there_may_be_edited_and_stay(asked: list[workflow.Request], tmp_path: Path) -> None:
    (tmp_path / "cloud.json").write_text("mine")
    done = call("plan", "m.onnx", "--save-costs", str(tmp_path))
    assert done.exit_code == 2 and "cloud.json are there, perhaps edited; give another folder" in done.stderr
    assert asked == [] and (tmp_path / "cloud.json").read_text() == "mine" and not (tmp_path / "edge.json").exists()


def test_costs_that_cannot_be_saved_are_told_before_the_plan(asked: list[workflow.Request], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = call("plan", "m.onnx", "--save-costs", str(tmp_path / "file" / "costs"))
    assert done.exit_code == 2 and "--save-costs: no file can be written at" in done.stderr and asked == []


def test_saved_costs_have_no_load_in_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are edited and given to --costs, where --cloud-load may stand again."""

    def plan(request: workflow.Request, progress: Callable[[str], None]) -> Any:
        result = result_of(request)
        result.problem.cloud = under_load(result.problem.cloud, request.cloud_load)
        return result

    monkeypatch.setattr(workflow, "plan", plan)
    done = call("plan", "m.onnx", "--cloud-load", "0.5", "--save-costs", str(tmp_path))
    assert "busy with others" in done.stdout
    saved = Costs.load(tmp_path / "cloud.json")
    assert saved.layer_s == pytest.approx({"a": 0.1, "b": 0.2}) and "cloud_load" not in saved.provenance


@pytest.mark.parametrize("command", ["targets", "links", "planners", "passes", "zoo"])
def test_lists(command: str) -> None:
    done = call(command)
    assert done.exit_code == 0 and len(done.output.splitlines()) > 5


def test_layers_show_what_each_glob_of_bits_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = tuple(Tensor(name, (4,), "float32") for name in ("x", "stem", "block", "head"))
    layers = tuple(Layer(b, "op", (a,), (b,)) for a, b in (("x", "stem"), ("stem", "block"), ("block", "head")))
    graph = Graph("net", tensors, layers, ("x",), ("head",))
    monkeypatch.setattr(prepare, "prepare", lambda _request: (None, graph))
    done = call("layers", "m.onnx", "--bits", "stem*=8", "--bits", "x=4", "--bits", "h*=16")
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert (rows["stem"][-1], rows["x"][-1], rows["head"][-1]) == ("8", "4", "16") and rows["layer"][-1] == "--bits"
    assert len(rows["block"]) == len(rows["stem"]) - 1
    plain = call("layers", "m.onnx").stdout
    assert "--bits" not in plain and plain.startswith("input x: float32 (4,)\n")
    assert json.loads(call("layers", "m.onnx", "--bits", "s*=8", "--json").stdout)["bits"] == {"stem": 8}
    for words, says in (
        (["q*=8"], "matches no layer"),
        (["stem=8", "s*=4"], "is given 8 bits by 'stem' and 4 by 's*'"),
    ):
        done = call("layers", "m.onnx", *(word for each in words for word in ("--bits", each)))
        assert done.exit_code == 2 and says in done.stderr and done.stdout == ""


@pytest.mark.parametrize("bits", [1, 5, 7])
def test_layers_take_a_width_that_only_what_is_sent_can_have(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    tensors, layers = (Tensor("x", (4,), "float32"), Tensor("a", (4,), "float32")), (Layer("a", "op", ("x",), ("a",)),)
    monkeypatch.setattr(prepare, "prepare", lambda _request: (None, Graph("net", tensors, layers, ("x",), ("a",))))
    done = call("layers", "m.onnx", "--bits", f"a={bits}", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["bits"] == {"a": bits}


def test_targets_say_that_peaks_are_computed() -> None:
    assert "Peaks are computed as cores x clock" in call("targets").stdout


def test_a_reader_that_stops_early_is_no_error() -> None:
    script = f"{sys.executable} -m tvm_split.cli zoo | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode in (0, 1) and done.stderr == ""


def test_doctor_notes_that_llvm_mca_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "note    llvm-mca, for --costs mca: none\n        -> " in call("doctor").output


def test_doctor_notes_which_optional_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tvm_split.cli.doctor")
    monkeypatch.setattr(module, "EXTRAS", {"plot": "numpy", "tflite": "no-such-package"})
    done = call("doctor")
    assert (
        "note    optional packages: numpy\n        -> for no-such-package: pip install 'tvm-split[tflite]'"
        in done.output
    )


def test_doctor_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path / "file" / "below"))
    done = call("doctor")
    assert done.exit_code == 1
    assert "MISSING cache of networks" in done.output and "-> set TVM_SPLIT_CACHE to a folder" in done.output
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path / "cache"))
    assert "ok      cache of networks" in call("doctor").output


def test_a_warning_of_python_s_is_one_line_without_its_place_in_the_code(
    asked: list[workflow.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = workflow.plan

    def warn(*args: Any) -> Any:
        warnings.warn("target 'attic': knows no processor 'z81'", stacklevel=1)
        return plan(*args)

    monkeypatch.setattr(workflow, "plan", warn)
    done = call("plan", "m.onnx", "-q")
    assert done.exit_code == 0
    assert "warning: target 'attic': knows no processor 'z81'\n" in done.stderr
    assert "UserWarning" not in done.stderr and ".py" not in done.stderr
