"""A profile and finalists on a board, from end to end. An emulated board's times say nothing; that they come does."""

import json

from click.testing import CliRunner

from tests.profile.small_network import save
from tvm_split.cli import cli
from tvm_split.profile import cost_model


def test_profile_of_a_board_and_a_plan_with_it(board, tmp_path, monkeypatch):
    monkeypatch.setattr("tvm_split.profile.noise.NOISE", 1e9)  # emulation is noisy
    monkeypatch.setattr(cost_model, "FEWEST", 4)
    model, out = save(tmp_path), tmp_path / "pi.json"
    done = CliRunner().invoke(cli, [
        "profile", str(model), "--target", "raspberry-pi-4", "--tracker", board.tracker, "--key", board.key,
        "--minutes", "1.5", "--out", str(out), "--json", "-q",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["device"]["machine"] == f"board {board.key}" and facts["fitted_to"]["layers"] >= 6
    cloud = tmp_path / "cloud.json"
    layers = [f"{name}" for name in json.loads(_layers(model))]
    cloud.write_text(json.dumps({"version": 1, "target": "c5.xlarge", "source": "made up", "provenance": {},
                                 "layer_s": dict.fromkeys(layers, 1e-3)}))  # fmt: skip
    done = CliRunner().invoke(cli, ["plan", str(model), "--costs", f"{out},{cloud}", "--json", "-q"])
    assert done.exit_code == 0 and "predicted by a model" in done.stderr, done.output


def test_finalists_are_timed_on_the_board(board, tmp_path):
    done = CliRunner().invoke(cli, [
        "compile", str(save(tmp_path)), "-o", str(tmp_path / "bundle"), "--tracker", board.tracker, "--edge-key",
        board.key, "--measure", "--finalists", "2", "-q",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"timed on the board {board.key}" in done.stdout and "as predicted for c5.xlarge" in done.stdout
    plan = json.loads((tmp_path / "bundle" / "plan.json").read_text())
    assert sum(each["measured"] is not None for each in plan["candidates"]) >= 2


def _layers(model):
    """The names of the network's layers, as JSON."""
    listed = CliRunner().invoke(cli, ["layers", str(model), "--json"])
    return json.dumps([layer["name"] for layer in json.loads(listed.stdout)["layers"]])
