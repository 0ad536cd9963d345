"""A command whose bad input ends in one message and exit code 2, and whose --debug shows the traceback instead."""

from __future__ import annotations

import errno
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tvm_split.errors import SplitError

BAD_INPUT, BUG, INTERRUPTED = 2, 1, 130
STOPPED = "interrupted; no half-written bundle was left"


class Failure(click.ClickException):
    """One message on stderr."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: Any = None) -> None:
        click.echo(f"tvm-split: {self.format_message()}", file=file, err=file is None)


class SplitCommand(click.Command):
    """Adds --debug. SplitError and failing files: exit 2. Control-C: 130. Anything else is a bug of ours: exit 1."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = "On an error, show the Python traceback instead of one message."
        self.params.append(click.Option(["--debug"], is_flag=True, help=text))

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params.pop("debug", False)
        with _interrupts() as pressed, warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return self._invoke(ctx, debug, pressed)

    def _invoke(self, ctx: click.Context, debug: bool, pressed: threading.Event) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise Failure(STOPPED, INTERRUPTED) from None
        except Exception as error:
            if pressed.is_set():
                raise Failure(STOPPED, INTERRUPTED) from error
            if debug:
                raise
            raise failure_of(error) from error


def _show_warning(message: Warning | str, *_where: Any, **_more: Any) -> None:
    """One line on stderr, like the warnings of a plan; where in the code it was said is of no use there."""
    click.echo(f"warning: {message}", err=True)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Whether Control-C was pressed or we were asked to end: scratch folders and children go, as on an error.

    Inside TVM, the KeyboardInterrupt comes out as an empty RuntimeError.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def stop(_signal: int, _frame: Any) -> None:
        pressed.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def failure_of(error: Exception) -> Failure:
    """The one message that a user reads for this error, and its exit code."""
    if isinstance(error, SplitError):
        return Failure(str(error), BAD_INPUT)
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        advice = "; free some space, or write elsewhere" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return Failure(f"{where}{error.strerror}{advice}", BAD_INPUT)
    if isinstance(error, MemoryError):
        return Failure(
            "this machine's memory is too small for the network; free some, or use a larger machine", BAD_INPUT
        )
    last = (str(error).strip().splitlines() or ["no message"])[-1].strip()  # TVM puts its own traceback before
    return Failure(f"unexpected {type(error).__name__}: {last}\nRun again with --debug for the traceback.", BUG)


class Progress:
    """Lines on stderr with the seconds since the start, so that stdout holds the result alone."""

    def __init__(self, quiet: bool = False) -> None:
        self._begin, self._quiet = time.monotonic(), quiet

    def __call__(self, text: str) -> None:
        if not self._quiet:
            click.echo(f"[{time.monotonic() - self._begin:5.1f} s] {text}", err=True)


def log_to_stderr() -> None:
    """What --explain prints: why each pass did nothing where it did nothing."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("tvm_split")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG)
