"""An object in a process of its own, called through a pipe. No TVM and no onnxruntime here.

Why processes: the threads of TVM and of onnxruntime go on looking for work after a call; both were seen to use another
4 to 8 ms of processor time. Called one at once after the other, each would be timed while the other's threads still
spin. Forbidding that (`session.intra_op.allow_spinning`, TVM_THREAD_POOL_SPIN_COUNT) would change what the threads do
*between the operators* of a call too, where spinning is both engines' default for the sake of speed. So both spin as
they come, and an answer is sent only when the process that gives it has become quiet: the next engine has the cores for
itself. As its threads sleep by then, a turn begins with a call that is not counted.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from tvm_split.errors import BuildError, LinkDownError, last_line

STOP_S = 5.0
#: quiet is two windows in a row in which the process used less than this share of one core
WINDOW_S, QUIET_SHARE, QUIET_WINDOWS, SETTLE_S = 0.002, 0.1, 2, 1.0
CAUSES = {
    signal.SIGILL: ": the target has instructions that this machine lacks; give --target host",
    signal.SIGKILL: ", perhaps because there was too little memory",
}


class Worker:
    """`make(*args)` in a new process that may use `cores`; ends with the `with` block, or when its parent dies.

    `make` must be importable. LinkDownError: the process died or was silent for too long; BuildError: what it was
    asked failed there. `name` is how messages call it.
    """

    def __init__(self, name: str, cores: Collection[int], make: Callable[..., Any], *args: Any) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # thread pools do not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, tuple(cores), make, args), daemon=True)
        self._process.start()
        theirs.close()  # else a dead process would not end the pipe
        try:
            self._answer(None)
        except BaseException:
            self.stop()
            raise

    def ask(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        """What the object's method returns. After a timeout the process is ended."""
        try:
            self._pipe.send((method, args))
        except OSError:
            raise self._death() from None
        return self._answer(timeout_s)

    def times(self, count: int) -> list[float]:
        """Seconds of `count` calls of an engine of `engines.py`."""
        return list(self.ask("times", count))

    def stop(self) -> None:
        """End the process, at once when it does not end by itself."""
        self._pipe.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, timeout_s: float | None) -> Any:
        try:
            if not self._pipe.poll(timeout_s):
                self.stop()
                raise LinkDownError(f"{self.name} gave no answer within {timeout_s:g} s, and was ended")
            worked, answer = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        if not worked:
            raise BuildError(f"{self.name} failed: {answer}")
        return answer

    def _death(self) -> LinkDownError:
        self._process.join(STOP_S)
        status = self._process.exitcode
        if status is None or status >= 0:
            return LinkDownError(f"the process of {self.name} ended with {status}")
        cause = signal.Signals(-status)
        return LinkDownError(f"the process of {self.name} was killed by {cause.name}{CAUSES.get(cause, '')}")


def settle(window_s: float = WINDOW_S, at_most_s: float = SETTLE_S) -> None:
    """Return when no thread of this process computes any more, or after `at_most_s`."""
    end, quiet = time.monotonic() + at_most_s, 0
    while quiet < QUIET_WINDOWS and time.monotonic() < end:
        before = time.process_time()
        time.sleep(window_s)
        quiet = quiet + 1 if time.process_time() - before < QUIET_SHARE * window_s else 0


def _serve(pipe: Connection, cores: tuple[int, ...], make: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The child: make the object, say so, then answer until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # TVM may have bound the parent to one core, which we would inherit
    os.dup2(2, 1)  # what an engine prints is no part of the parent's result
    made: Any = None
    answer: tuple[bool, Any]
    request: tuple[str, tuple[Any, ...]] | None = None
    while True:
        try:
            if request is None:
                made, answer = make(*args), (True, None)
            else:
                answer = (True, getattr(made, request[0])(*request[1]))
        except Exception as error:  # whatever an engine raises is told to the parent
            answer = (False, f"{type(error).__name__}: {last_line(error)}")
        settle()
        try:
            pipe.send(answer)
            request = pipe.recv()
        except (EOFError, OSError):
            return
