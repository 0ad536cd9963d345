"""What is kept when something fails, with a tuning process that only plays one."""

import json
import math
from pathlib import Path

import pytest

from tvm_split.errors import BuildError, LinkDownError, TargetError
from tvm_split.targets import load_target
from tvm_split.targets.host import machine
from tvm_split.tune import trials, tuner
from tvm_split.tune.apply import facts
from tvm_split.tune.compare import Measured
from tvm_split.tune.database import Database
from tvm_split.tune.lab import Cost
from tvm_split.tune.measuring import Board
from tvm_split.tune.tuner import TuneRequest, result_for, tune

BOARD = Board("127.0.0.1:9", "here")


class Acted:
    """A process whose search makes trials of one second, or fails as it is told to."""

    def __init__(self):
        self.costs = []
        self.failing = {}
        self.trial_s = 1.0
        self.searched = []

    def __call__(self, _args):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        pass

    def ask(self, method, *args, tick=None):
        if method == "costs":
            return self.costs
        if method == "search":
            _, folder, count, _ = args
            self.searched.append(count)
            self.write(folder, count)
        if method in self.failing:
            raise self.failing[method]
        return [Measured(True, 1.0)] * (1 + len(args[1])) if method == "compare" else None

    def write(self, folder, count):
        Path(folder, trials.WORKLOADS).write_text(json.dumps(["hash", "module"]) + "\n")
        with Path(folder, trials.RECORDS).open("a") as file:
            for number in range(count):
                trace = [[["Split", [], [], []]], [[0, number]]]
                file.write(json.dumps([0, [trace, [self.trial_s], {"kind": "llvm"}, []]]) + "\n")


class Watcher:
    def say(self, text):
        pass

    def at(self, name, tried, wanted):
        pass


@pytest.fixture
def process(monkeypatch):
    acted = Acted()
    acted.costs = [Cost(2.0, 9, "ours", "space"), Cost(1.0, 9, "ours", "space")]
    monkeypatch.setattr(tuner, "Process", acted)
    return acted


@pytest.fixture
def run(model, tmp_path):
    def run(**options):
        request = TuneRequest(model, database=tmp_path / "db", **{"trials": 2, "layers": 1, **options})
        result = result_for(request)
        tune(request, Watcher(), result)
        return result

    return run


@pytest.fixture
def decisions(tmp_path, target, kernels):
    """What the database holds of each kernel."""
    return lambda: [Database.open(tmp_path / "db").find(facts(target)).decision(kernel.key) for kernel in kernels]


@pytest.mark.parametrize("error", [LinkDownError("killed"), BuildError("failed")])
def test_a_comparison_that_failed_is_made_again(process, run, decisions, error):
    process.failing = {"compare": error}
    (row,) = run().rows
    assert row.decision.reason == "the comparison failed" and decisions() == [None, None]
    process.failing = {}
    (again,) = run().rows
    assert not again.kept and again.decision.reason == "no trial was faster"
    assert process.searched == [2]  # its trials were kept
    assert run().rows[0].kept


def test_a_search_without_trials_that_worked_decides_nothing(process, run, decisions):
    process.trial_s = 1e10
    (row,) = run().rows
    assert row.decision.reason == "no trial could be built and run" and decisions() == [None, None]


def test_a_changed_schedule_of_ours_is_searched_again(process, run):
    assert not run().rows[0].kept
    process.costs = [Cost(2.0, 9, "changed", "another"), process.costs[1]]
    (row,) = run().rows
    assert not row.kept and row.decision.tried == 2 and process.searched == [2, 2]
    assert run().rows[0].kept


@pytest.fixture
def gone(monkeypatch):
    """A board that answers as long as nothing is in the list."""
    missing = []

    class Session:
        def close(self):
            pass

    def connect(tracker, key, timeout_s):
        if missing:
            raise LinkDownError("no board with key 'here'")
        return Session()

    monkeypatch.setattr(tuner, "connect", connect)
    return missing


def after_failing(process, gone, method):
    """The board goes away when the method is asked for."""
    ask = process.ask

    def asked(name, *args, **kwargs):
        if name == method:
            gone.append(True)
        return ask(name, *args, **kwargs)

    process.ask = asked


@pytest.mark.parametrize("method", ["search", "compare"])
@pytest.mark.parametrize("error", [LinkDownError("killed"), BuildError("failed")])
def test_a_board_that_is_gone_ends_it(process, run, gone, decisions, method, error):
    process.failing = {method: error}
    process.trial_s = 1e10 if method == "search" else 1.0
    after_failing(process, gone, method)
    with pytest.raises(LinkDownError, match="no board"):
        run(board=BOARD)
    assert decisions() == [None, None]


def test_trials_of_a_board_that_was_there_are_kept(process, run, gone, tmp_path):
    """Of a search that lost its board, those after the last one that worked are forgotten."""
    after_failing(process, gone, "search")
    ask = process.ask

    def half(name, *args, **kwargs):
        if name == "search":
            process.write(args[1], 1)
            process.trial_s = 1e10
        return ask(name, *args, **kwargs)

    process.ask = half
    with pytest.raises(LinkDownError, match="no board"):
        run(board=BOARD)
    (records,) = tmp_path.glob(f"db/*/*/*/{trials.RECORDS}")
    assert [trial.seconds for trial in trials.read(records.parent)] == [1.0]


def test_what_cannot_vary_is_told_whatever_it_costs_and_counts_as_no_decision(process, run):
    for seconds in (2.0, 0.1):
        process.costs = [Cost(seconds, 0, "ours"), Cost(1.0, 9, "ours", "space")]
        result = run(share=1.0)
        (fixed,), (tuned,) = result.fixed, result.rows
        assert fixed.decision.reason == "cannot be tuned" and fixed.decision.ours_s == seconds
        assert tuned.decision.reason == "no trial was faster" and math.isfinite(tuned.seconds)
        assert result.wanted == 1


def test_this_machine_is_named_as_targets_name_it(run, monkeypatch):
    other = "arm64" if machine() == "x86_64" else "AMD64"
    spec = load_target("host")
    monkeypatch.setattr("platform.machine", lambda: other)
    monkeypatch.setattr(tuner, "load_target", lambda _: spec)
    with pytest.raises(TargetError, match=f"'host' is {spec.arch} and this machine {machine()}: give --tracker"):
        run()
