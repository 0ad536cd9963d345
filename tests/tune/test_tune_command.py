"""`tvm-split tune`: what options become, what it prints, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tvm_split.cli import cli
from tvm_split.errors import TuneError
from tvm_split.tune import tuner
from tvm_split.tune.database import Decision, default_folder
from tvm_split.tune.kernels import Kernel
from tvm_split.tune.measuring import Board

#: kernels that cannot be tuned
FIXED = {"stem": ("stem", "stem_2"), "up": ("up",)}
STAYS = Decision(("stem",), 0, 0, 0, 0, 0.001, None, None, "0", "cannot be tuned")


@pytest.fixture
def asked(monkeypatch):
    """Requests that reach the tuner, which finds one better schedule in two layers."""
    requests = []

    def tune(request, watcher, result):
        requests.append(request)
        watcher.say("reading the network")
        watcher.at("a and 1 like it", 0, 4)
        result.wanted, result.total_s = 2, 0.01
        a = Kernel("a" * 16, None, ("a", "a_2"), (), ())
        b = Kernel("b" * 16, None, ("b",), (), ())
        won = Decision(a.layers, 4, 4, 1, 0, 0.002, 0.001, [[], []], "0", "faster")
        lost = Decision(b.layers, 4, 4, 0, 1, 0.001, None, None, "0", "the trials gave other results")
        result.rows += [tuner.Row(a, 0.004, won, False), tuner.Row(b, 0.001, lost, True)]
        stem, up = (Kernel(name[0] * 16, None, layers, (), ()) for name, layers in FIXED.items())
        result.fixed += [tuner.Row(each, 0.0015, STAYS, False) for each in (stem, up)]
        result.crashes.append("b: the process was killed by SIGSEGV")

    monkeypatch.setattr(tuner, "tune", tune)
    return requests


def call(*words):
    return CliRunner().invoke(cli, ["tune", *words])


def test_options_become_a_request(asked, tmp_path):
    words = ["m.onnx", "--target", "raspberry-pi-4", "--tracker", "h:9190", "--key", "k", "--trials", "7"]
    found = call(*words, "--layers", "3", "--share", "0.5", "--database", str(tmp_path), "--shape", "x=1x3", "-q")
    assert found.exit_code == 0, found.output
    (request,) = asked
    assert (request.model, request.target, request.database) == ("m.onnx", "raspberry-pi-4", tmp_path)
    assert (request.trials, request.layers, request.share) == (7, 3, 0.5)
    assert request.shapes == {"x": (1, 3)} and request.board == Board("h:9190", "k")


def test_the_table_and_what_to_do_next(asked, tmp_path):
    found = call("m.onnx", "--database", str(tmp_path))
    assert "tuned" in found.stdout and "other results" in found.stdout and "2.00" in found.stdout
    text = " ".join(found.stdout.split())
    assert "a faster schedule was found for 1 of 2 kernels, 20.0% of the network's time saved" in text
    assert f"tvm-split compile m.onnx --database {tmp_path} --cloud host -o BUNDLE" in text
    assert f"tvm-split bench m.onnx --database {tmp_path}" in text
    assert text.count("stem") == 1 and "cannot be tuned (30% of the time): stem and 1 like it, up" in text
    assert "warning: b: the process was killed by SIGSEGV" in found.stderr
    assert "tuning a and 1 like it: 0 of 4 trials" in found.stderr


@pytest.mark.parametrize(
    ("target", "side", "bench"),
    [("raspberry-pi-4", "--edge raspberry-pi-4", False), ("c5.large", "--cloud c5.large", True)],
)
def test_the_advice_puts_the_target_on_its_side(asked, tmp_path, monkeypatch, target, side, bench):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    found = call("m.onnx", "--database", str(tmp_path), "--target", target)
    text = " ".join(found.stdout.split())
    assert f"{side} -o BUNDLE" in text and text.count("-o BUNDLE") == 1
    assert ("tvm-split bench" in text) == bench == (f"--target {target}" in text)


def test_a_run_that_measured_nothing_is_no_success(asked, tmp_path, monkeypatch):
    """What cannot be tuned was timed when layers were ranked; that is no decision."""
    before = tuner.tune

    def tune(request, watcher, result):
        before(request, watcher, result)
        result.rows.clear()

    monkeypatch.setattr(tuner, "tune", tune)
    found = call("m.onnx", "--database", str(tmp_path))
    assert found.exit_code == 1 and "no layer could be measured" in found.stderr


def test_json_alone_on_stdout(asked, tmp_path):
    told = json.loads(call("m.onnx", "--database", str(tmp_path), "--json").stdout)
    assert [layer["tuned"] for layer in told["layers"]] == [False, False, True, False]
    assert [layer["reason"] for layer in told["layers"]][:2] == ["cannot be tuned"] * 2
    assert told["layers"][2]["ours_s"] == 0.002 and told["layers"][3]["decided_before"]


def test_the_default_folder_is_in_the_cache(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    assert json.loads(call("m.onnx", "--json").stdout)["database"] == str(tmp_path / "tuned") == str(default_folder())


def test_an_interruption_shows_what_there_is(asked, tmp_path, monkeypatch):
    before = tuner.tune

    def tune(*args):
        before(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner, "tune", tune)
    found = call("m.onnx", "--database", str(tmp_path))
    assert found.exit_code == 130
    assert "interrupted; 2 of 2 layers are decided. The same command goes on from here" in found.stderr
    assert "other results" in found.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "0"], "--trials"),
        (["--layers", "0"], "--layers"),
        (["--share", "0"], "--share"),
        (["--tracker", "h:1"], "--tracker and --key belong together"),
        (["--key", "k"], "--tracker and --key belong together"),
    ],
)
def test_bad_options(asked, words, message):
    found = call("m.onnx", *words)
    assert found.exit_code == 2 and message in found.stderr and not asked


def test_errors_are_one_message(monkeypatch, tmp_path):
    def tune(*_args):
        raise TuneError("what is wrong")

    monkeypatch.setattr(tuner, "tune", tune)
    found = call("m.onnx", "--database", str(tmp_path), "-q")
    assert found.exit_code == 2 and found.stderr == "tvm-split: what is wrong\n"


@pytest.mark.parametrize("command", ["plan", "bench"])
def test_a_database_that_is_none_is_told(command, model, tmp_path):
    found = CliRunner().invoke(cli, [command, str(model), "--database", str(Path(tmp_path) / "none"), "-q"])
    assert found.exit_code == 2 and "none is no database of schedules" in found.stderr
