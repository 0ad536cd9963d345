"""`compile` on the command line: the edge half's memory as compiled, beside the plan's and the limit."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tvm_split import workflow
from tvm_split.cli import cli, plan_commands
from tvm_split.cli.kinds import Size

MADE = {"planned_bytes": 4_000_000, "compiled_bytes": 5_000_000, "weights_bytes": 3_000_000,
        "storages_bytes": 1_500_000, "scratch_bytes": 300_000, "input_bytes": 200_000}  # fmt: skip
#: what fits in 4 MB if the compiled half stays 5/4 of the plan
WARNING = "warning: the edge half takes 5 MB, more than the 4 MB of --memory; plan again with --memory 3.2MB\n"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a compilation that is made up "wrote"; the plan's table is left out."""
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "edge.so").write_bytes(b"half")

    def compile_(request: workflow.Request, *_: object, **__: object) -> SimpleNamespace:
        plan = SimpleNamespace(problem=SimpleNamespace(memory_bytes=request.memory_bytes))
        return SimpleNamespace(plan=plan, finals=(), bundle=SimpleNamespace(path=made, manifest={"edge_memory": MADE}))

    monkeypatch.setattr(workflow, "compile", compile_)
    monkeypatch.setattr(plan_commands, "show", lambda *_: print("{}"))
    return made


@pytest.mark.parametrize("limit, warning", [("4MB", WARNING), ("5MB", ""), (None, "")])
def test_a_half_that_takes_more_than_the_limit_is_warned_of(bundle: Path, limit: str | None, warning: str) -> None:
    words = ["compile", "m.onnx", "-o", str(bundle.parent / "new"), *(("--memory", limit) if limit else ())]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0 and done.stderr == warning
    assert (
        "edge memory as compiled: 5 MB (weights 3 MB, storages 1.5 MB, scratch 300 KB, input 200 KB); planned 4 MB\n"
        in (done.stdout)
    )
    as_json = CliRunner().invoke(cli, [*words, "--json"])
    assert as_json.stderr == warning and json.loads(as_json.stdout) == {}


def test_the_limit_to_plan_again_with_is_one_that_memory_takes() -> None:
    advised = WARNING.strip().removeprefix("warning: ").partition("plan again with --memory ")[2]
    assert Size().convert(advised, None, None) == 3_200_000
