"""Progress of many steps: a line whenever enough time has passed, none for what is done soon."""

import pytest
import tvm

from tvm_split import layer_runner, pipeline, progress
from tvm_split.frontend import load
from tvm_split.layer_kernels import lower_layers


def test_a_line_whenever_the_time_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = iter([0.0, 3.0, 6.0, 6.0, 8.0, 12.0, 12.0]), []
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert [*progress.counted("abcde", "spelling", lines.append)] == [*"abcde"]
    assert lines == ["spelling: 2 of 5", "spelling: 4 of 5"]


def test_what_is_done_soon_is_not_told() -> None:
    lines: list[str] = []
    assert [*progress.counted(range(9), "counting", lines.append)] == [*range(9)] and lines == []


def test_lowering_and_compiling_layers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.counted, "__defaults__", (0.0,))
    monkeypatch.setattr(layer_runner, "AT_ONCE", 4)
    mod = pipeline.layers()(load("zoo:wakeword-embedding"))
    lines: list[str] = []
    count = len(lower_layers(mod, tvm.target.Target("llvm"), progress=lines.append).reasons)
    assert lines == [f"lowering layers for llvm: {i} of {count}" for i in range(1, count)] and count > 10
    lines.clear()
    layer_runner.LayerRunner(mod, progress=lines.append)
    assert [line for line in lines if line.startswith("compiling layers, 4 kernels at once: 1 of ")]
