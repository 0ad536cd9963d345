"""What other processes take, from texts of /proc/stat, and what is said of it."""

import os
from pathlib import Path

import pytest

from tvm_split.bench import load

OTHERS = load.others  # which the fixture of every test here replaces

TICKS = os.sysconf("SC_CLK_TCK")


def stat(*cores: tuple[int, ...]) -> str:
    lines = [f"cpu{i} {' '.join(map(str, ticks))}" for i, ticks in enumerate(cores)]
    total = " ".join(str(sum(column)) for column in zip(*cores, strict=True))
    return "\n".join([f"cpu  {total}", *lines, "intr 5 0", "ctxt 99"]) + "\n"


def test_only_our_cores_count_and_neither_idleness_nor_guests() -> None:
    before = stat((10, 0, 5, 100, 0, 0, 0, 0, 3, 0), (0, 0, 0, 7, 0, 0, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    #               user nice sys idle iowait irq softirq steal guest
    after = stat(
        (10 + TICKS, 0, 5, 180, 9, 0, 0, 0, 3 + TICKS, 0),
        (0, TICKS // 2, 0, 9, 0, 0, 0, TICKS // 2, 0, 0),
        (9999, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    assert load.busy(before, after, {0, 1}, 2.0) == pytest.approx(1.0)
    assert load.busy(before, after, {0}, 1.0) == pytest.approx(1.0)
    assert load.busy(before, before, {0, 1}, 1.0) == 0


def test_a_machine_that_tells_nothing_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "STAT", tmp_path / "none")
    assert OTHERS({0}, 0.0) is None


def test_here_it_is_a_number_of_cores() -> None:
    cores = os.sched_getaffinity(0)
    found = OTHERS(cores, 0.05)
    assert found is not None and 0 <= found <= 2 * len(cores)


def test_a_busy_machine_is_told_with_what_to_do_and_a_quiet_one_is_not() -> None:
    assert load.warnings(0.1, 2) == load.warnings(None, 2) == []
    (said,) = load.warnings(1.26, 2)
    assert said.startswith("other processes keep 1.3 of 2 cores busy, so times, the measured limits")
    assert "stop those processes" in said
