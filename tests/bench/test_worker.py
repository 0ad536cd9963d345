"""A process of its own: answers, failures, death, silence, quiet before an answer. What is asked are modules."""

import importlib
import math
import os
import signal
import threading
import time

import pytest

from tvm_split.bench.worker import Worker, settle
from tvm_split.errors import BuildError, LinkDownError

CORES = sorted(os.sched_getaffinity(0))


def of(module: str) -> Worker:
    return Worker("the engine", CORES, importlib.import_module, module)


def test_it_answers_from_another_process() -> None:
    with of("os") as worker:
        pid = worker.ask("getpid")
        assert pid != os.getpid()
        assert worker.ask("getppid") == os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_may_use_the_cores_it_is_given() -> None:
    with Worker("the engine", CORES[:1], importlib.import_module, "os") as worker:
        assert worker.ask("sched_getaffinity", 0) == set(CORES[:1])


def test_what_it_prints_is_not_on_our_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with of("builtins") as worker:
        worker.ask("print", "a note of the engine's")
        worker.ask("exec", "import sys; sys.stdout.flush()")
    assert capfd.readouterr().out == ""


def test_a_failure_there_is_an_error_here_and_the_process_goes_on() -> None:
    with of("math") as worker:
        with pytest.raises(BuildError, match="the engine failed: ValueError: "):
            worker.ask("sqrt", -1)
        assert worker.ask("sqrt", 9) == 3


def test_an_engine_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(BuildError, match="the engine failed: ModuleNotFoundError: No module named 'no_such'"):
        of("no_such")


def test_death_is_told_with_its_cause() -> None:
    with of("os") as worker, pytest.raises(LinkDownError, match=r"the engine was killed by SIGILL: .* lacks"):
        worker.ask("kill", worker.ask("getpid"), signal.SIGILL)
    with of("os") as worker:
        with pytest.raises(LinkDownError, match="the engine ended with 3"):
            worker.ask("_exit", 3)
        with pytest.raises(LinkDownError, match="the engine ended with 3"):
            worker.ask("getpid")


def test_silence_ends_the_process() -> None:
    with of("time") as worker:
        begin = time.monotonic()
        with pytest.raises(LinkDownError, match=r"no answer within 0.2 s, and was ended"):
            worker.ask("sleep", 60, timeout_s=0.2)
        assert time.monotonic() - begin < 20


def test_settle_waits_for_threads_that_spin() -> None:
    done = threading.Event()

    def spin() -> None:
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            math.sqrt(2)
        done.set()

    threading.Thread(target=spin).start()
    settle(window_s=0.02, at_most_s=30)
    assert done.is_set()


def test_settle_does_not_wait_for_ever() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            math.sqrt(2)

    thread = threading.Thread(target=spin)
    thread.start()
    begin = time.monotonic()
    settle(at_most_s=0.2)
    stop.set()
    thread.join()
    assert time.monotonic() - begin < 20
