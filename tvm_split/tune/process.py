"""The tuning process: begun when it is asked something, and begun again after it died."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tvm_split.bench.worker import Worker
from tvm_split.errors import LinkDownError
from tvm_split.tune.child import begin

#: seconds between two looks at how far a search is
TICK_S = 0.5


class Process:
    """A Lab in a process of its own, which is begun again after it died."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self._args = args
        self._cores = frozenset(os.sched_getaffinity(0))
        self._worker: Worker | None = None
        self._pool = concurrent.futures.ThreadPoolExecutor(1)

    def ask(self, method: str, *args: Any, tick: Callable[[], None] = lambda: None) -> Any:
        """What the Lab's method returns; `tick` is called meanwhile. LinkDownError when the process died."""
        if self._worker is None:
            self._worker = Worker("the tuning process", self._cores, begin, *self._args)
        answer = self._pool.submit(self._worker.ask, method, *args)
        while True:
            try:
                return answer.result(timeout=TICK_S)
            except concurrent.futures.TimeoutError:
                if answer.done():
                    raise
                tick()
            except LinkDownError:
                self.stop()
                raise

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._pool.shutdown(cancel_futures=True)
