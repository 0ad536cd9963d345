"""The command line: what it says of bad input and of errors, and its exit codes."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tvm_split import workflow
from tvm_split.cli import cli
from tvm_split.errors import ModelError


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def _raiser(error: BaseException) -> Callable[..., Any]:
    def plan(*_: object) -> Any:
        raise error

    return plan


@pytest.mark.parametrize(
    "words, says",
    [
        (["--memory", "8XB"], "'8XB' is not a size; write bytes, or a unit: 8MiB"),
        (["--memory", "0"], "less than one byte"),
        (["--cut-bits", "2;4"], "'2;4' is not a list of bits; write numbers with commas, e.g. 2,4,8"),
        (["--pin", "stem"], "an example: --pin 'stem*=edge'"),
        (["--pin", "stem=moon"], "'stem=moon' is not of the form GLOB=edge|cloud"),
        (["--bits", "h=four"], "an example: --bits"),
        (["--shape", "x=1x0x3"], "an example: --shape image=1x3x320x320"),
        (["--costs", "guess"], "systolic, scalesim, array, or two files as edge.json,cloud.json"),
        (["--costs", "no.json,none.json"], "costs file 'no.json': there is no such file"),
        (["--costs", f"{'a' * 5000},b"], "there is no such file"),
        (["--cut-bits", "9" * 5000], "is not a list of bits"),
        (["--min-agreement", "2"], "2"),
        (["--cloud-load", "1"], "1.0 is not in the range 0<=x<1"),
        (["--cloud-load", "nan"], "'nan' is no finite number"),
        (["--min-agreement", "nan"], "'nan' is no finite number"),
        (["--max-error", "inf"], "'inf' is no finite number"),
        (["--max-drop", "1"], "'1' is either 1% or all there is; write 1%, or 1.0"),
        (["--max-drop", "200%"], "max_drop is 2.0; expected a number from 0 to 1 (0.01, or 1%, is one point)"),
        (["--max-drop", "-1%"], "'-1%' is no loss"),
        (["--max-drop", "lots"], "'lots' is no loss"),
        (["--metric", "top3"], "metric is 'top3'; expected top1, top5, agreement or module:function"),
        (
            ["--max-drop", "1%", "--min-agreement", "0.9"],
            "both given; the first is another name for --metric agreement",
        ),
        (["--metric", "top5", "--min-agreement", "0.9"], "metric=top5 (--metric) are both given"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_option_is_told_and_exits_with_2(monkeypatch: pytest.MonkeyPatch, words: list[str], says: str) -> None:
    monkeypatch.setattr(workflow, "plan", _raiser(AssertionError("it was planned")))
    done = call("plan", "m.onnx", *words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words, says",
    [
        (["plan", "none.onnx"], "none.onnx: there is no such file"),
        (["plan", "a.txt"], "a model file ends in .onnx"),
        (["plan", "zoo:nothing"], "the zoo has no network 'nothing'"),
        (["plan", "m.onnx", "--edge", "raspberry"], "unknown target 'raspberry'"),
        (["plan", "m.onnx", "--link", "6g"], "unknown link '6g'"),
        (["plan", "m.onnx", "--strategy", "magic"], "the planners are auto-split"),
        (["run", "nowhere", "--input", "x.npy"], "nowhere is no bundle"),
        (["measure", "nowhere", "--tracker", "h:1", "--edge-key", "k"], "nowhere is no bundle"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(words: list[str], says: str) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("rest", [[], ["--tracker", "127.0.0.1:1"], ["--edge-key", "k"]])
def test_measure_asks_for_tracker_and_key(rest: list[str]) -> None:
    done = call("measure", "bundle", *rest)
    assert done.exit_code == 2 and "Missing option" in done.stderr


def test_run_refuses_a_link_that_is_not_shaped() -> None:
    done = call("run", "b", "--input", "x.npy", "--link", "4g", "--unshaped")
    assert done.exit_code == 2 and "exclude each other" in done.stderr


def test_compile_does_not_begin_when_the_bundle_is_there(tmp_path: Path) -> None:
    done = call("compile", "m.onnx", "-o", str(tmp_path))
    assert done.exit_code == 2 and "exists already; give another -o, or --force" in done.stderr


@pytest.mark.parametrize(
    "error, code, says",
    [
        (ModelError("m.onnx: cut short"), 2, "tvm-split: m.onnx: cut short"),
        (OSError(28, "No space left on device", "b/edge.so"), 2, "b/edge.so: No space left on device; free some space"),
        (MemoryError(), 2, "this machine's memory is too small"),
        (KeyboardInterrupt(), 130, "interrupted; no half-written bundle was left"),
        (RuntimeError("traceback\nboom"), 1, "unexpected RuntimeError: boom\nRun again with --debug"),
    ],
)
def test_errors_become_messages(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str) -> None:
    monkeypatch.setattr(workflow, "plan", _raiser(error))
    done = call("plan", "m.onnx")
    assert (done.exit_code, says in done.stderr, done.stdout) == (code, True, "")


def test_control_c_inside_tvm_is_an_interrupt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object) -> Any:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError from None

    monkeypatch.setattr(workflow, "plan", plan)
    before = signal.getsignal(signal.SIGINT)
    done = call("plan", "m.onnx", "--debug")
    assert (done.exit_code, "interrupted" in done.stderr) == (130, True)
    assert signal.getsignal(signal.SIGINT) is before


def test_debug_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "plan", _raiser(ModelError("m.onnx: cut short")))
    done = call("plan", "m.onnx", "--debug")
    assert isinstance(done.exception, ModelError)


@pytest.mark.parametrize("command", ["layers", "plan"])
@pytest.mark.parametrize("bits", [9, 64])
def test_a_width_that_nothing_has_is_refused(command: str, bits: int) -> None:
    done = call(command, "no.onnx", "--bits", f"*={bits}")
    wanted = f"a crossing tensor cannot have {bits} bits; the widths are 1, 2, 3, 4, 5, 6, 7, 8, 16, 32"
    assert done.exit_code == 2 and wanted in done.stderr


def test_a_width_that_no_edge_has_is_refused_for_an_edge_that_computes_with_it() -> None:
    wanted = "--bits '*=5': weights and tensors on the edge cannot have 5 bits; the widths are 2, 3, 4, 6, 8, 16, 32."
    done = call("plan", "no.onnx", "--bits", "*=5", "--edge-bits", "8")
    assert done.exit_code == 2 and wanted in done.stderr
