"""Files of trials after a process was killed in the middle of a line."""

import json
import math

import pytest

from tvm_split.tune import trials

WORKLOAD = json.dumps(["hash", "module"])


def record(workload, seconds, decision=0):
    return json.dumps([workload, [[["Split", [], [], []], [[0, decision]]], seconds, {"kind": "llvm"}, []]])


def write(folder, workloads, records, end="\n"):
    (folder / trials.WORKLOADS).write_text("".join(line + "\n" for line in workloads))
    (folder / trials.RECORDS).write_text("\n".join(records) + end)


@pytest.mark.parametrize("cut", range(1, len(record(0, [1.0])), 7))
def test_half_a_line_is_dropped_and_no_other(tmp_path, cut):
    good = [record(0, [2.0, 4.0], 1), record(0, [1.0], 2)]
    write(tmp_path, [WORKLOAD], [*good, record(0, [1.0], 3)[:cut]], end="")
    assert trials.mend(tmp_path) == 1
    assert (tmp_path / trials.RECORDS).read_text() == "".join(line + "\n" for line in good)
    assert [trial.seconds for trial in trials.read(tmp_path)] == [3.0, 1.0]
    assert trials.mend(tmp_path) == 0


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    write(tmp_path, [WORKLOAD], [record(0, [1.0])], end="")
    assert trials.mend(tmp_path) == 0
    assert (tmp_path / trials.RECORDS).read_text().endswith("\n")


def test_records_of_a_lost_workload_go_with_it(tmp_path):
    write(tmp_path, [WORKLOAD, WORKLOAD[:5]], [record(0, [1.0]), record(1, [1.0])])
    assert trials.mend(tmp_path) == 2
    assert len(trials.read(tmp_path)) == 1


def test_no_files_are_no_trials(tmp_path):
    assert trials.mend(tmp_path) == 0 and trials.read(tmp_path) == [] and trials.best(tmp_path, 3) == []


def test_the_best_are_the_fastest_that_worked_each_once(tmp_path):
    write(
        tmp_path,
        [WORKLOAD],
        [record(0, [1e10], 1), record(0, [2.0], 2), record(0, [1.0], 3), record(0, [1.5], 3), record(0, [], 4)],
    )
    assert [trial.seconds for trial in trials.best(tmp_path, 5)] == [1.0, 2.0]
    assert sum(math.isinf(trial.seconds) for trial in trials.read(tmp_path)) == 2


def test_trials_of_a_lost_board_are_forgotten(tmp_path):
    write(tmp_path, [WORKLOAD], [record(0, [1.0], 1), record(0, [1e10], 2)])
    trials.keep(tmp_path, 1)
    assert [trial.seconds for trial in trials.read(tmp_path)] == [1.0]
