"""Timing on some of this machine's cores: of a machine that is made up, and of this one."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tvm_split.cli import cli
from tvm_split.errors import CostError
from tvm_split.profile import collect as collecting
from tvm_split.profile.collect import Outcome, collect
from tvm_split.profile.cores import on_cores
from tvm_split.targets import load_target

REAL = """
import json, os, sys
from pathlib import Path
from tvm_split.profile import collect as collecting
from tvm_split.targets import load_target
core, here = int(sys.argv[1]), []
collecting.Collector.run = lambda self, networks: here.append(sorted(os.sched_getaffinity(0)))
records, _ = collecting.collect(load_target("host"), [], Path(sys.argv[2]), 1, cores=[core])
after = sorted(os.sched_getaffinity(0))
print(json.dumps({"threads": records.device["threads"], "here": here, "after": after}))
"""


@pytest.fixture
def machine(monkeypatch):
    """A process that may use the cores 0, 2, 3 and 5. cores: where it is at the time."""
    now = SimpleNamespace(cores={0, 2, 3, 5})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(now.cores))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: setattr(now, "cores", set(cores)))
    return now


def test_only_these_cores_within_and_all_again_after(machine):
    with pytest.raises(ZeroDivisionError), on_cores([2, 5]):
        assert machine.cores == {2, 5}
        raise ZeroDivisionError
    assert machine.cores == {0, 2, 3, 5}
    with on_cores(None):
        assert machine.cores == {0, 2, 3, 5}


@pytest.mark.parametrize(("cores", "named"), [([1, 2], "1"), ([7, 0, 8], "7, 8"), ([], "none")])
def test_cores_that_this_process_may_not_use(machine, cores, named):
    with pytest.raises(CostError, match=rf"\(--cores\) are {named}, which .*may not use; it may use 0, 2, 3, 5"):
        with on_cores(cores):
            pytest.fail("timed")
    assert machine.cores == {0, 2, 3, 5}


def test_the_pool_starts_on_the_cores_and_the_facts_say_how_many_threads(machine, tmp_path, monkeypatch):
    timed_on = []

    class Stub:
        def __init__(self, *_):
            pass

        def run(self, networks):
            timed_on.append(machine.cores)
            return Outcome([])

    monkeypatch.setattr(collecting, "Collector", Stub)
    monkeypatch.setattr(collecting, "use_threads", lambda threads: threads or len(os.sched_getaffinity(0)))
    for i, (more, threads) in enumerate([({}, 4), ({"cores": [3, 5]}, 2), ({"cores": [3, 5], "threads": 1}, 1)]):
        records, _ = collect(load_target("host"), [], tmp_path / f"{i}.jsonl", 1, **more)
        assert records.device["threads"] == threads
    assert timed_on == [{0, 2, 3, 5}, {3, 5}, {3, 5}] and machine.cores == {0, 2, 3, 5}


def test_the_command_hands_them_on_and_refuses_them_for_a_board(machine, tmp_path, monkeypatch):
    out = ["--out", str(tmp_path / "m.json")]
    monkeypatch.setattr(collecting, "use_threads", lambda _: pytest.fail("the pool was started"))
    done = CliRunner().invoke(cli, ["profile", *out, "--cores", "0,1", "-q"])
    assert done.exit_code == 2 and "(--cores) are 1, which this process may not use" in done.output
    done = CliRunner().invoke(cli, ["profile", *out, "--cores", "a", "-q"])
    assert done.exit_code == 2 and "'a' is not a list of cores; write numbers with commas, e.g. 0,1" in done.output
    board = ["--tracker", "127.0.0.1:1", "--key", "pi", "--cores", "0"]
    done = CliRunner().invoke(cli, ["profile", *out, *board])
    assert done.exit_code == 2 and "--cores is for this machine" in done.output


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this process may use one core only")
def test_one_core_of_this_machine(tmp_path):
    every = sorted(os.sched_getaffinity(0))
    said = subprocess.run(
        [sys.executable, "-c", REAL, str(every[-1]), str(tmp_path / "r.jsonl")],
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    assert json.loads(said) == {"threads": 1, "here": [[every[-1]]], "after": every}
