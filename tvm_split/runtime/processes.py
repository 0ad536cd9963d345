"""The two halves as processes: what a child prints, and how its parent starts, hears and ends it. No TVM.

A child prints one JSON object a line on stdout; a line with "error" is its last. Its stderr goes to a file, whose end
is quoted when it dies. With its standard input closed it ends too, so that nothing outlives a killed parent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tvm_split import errors
from tvm_split.bundle import Bundle
from tvm_split.errors import LinkDownError, SplitError, TargetError, last_line
from tvm_split.plan.problem import Link
from tvm_split.runtime.tensors import outputs_named, size_bytes

TAIL_LINES = 15
STOP_S = 5.0
#: more than any message may take: sockets refuse timeouts of centuries
LONGEST_S = 7 * 86_400.0


def add_options(parser: argparse.ArgumentParser, paced: str) -> None:
    """Add what both children take: bundle, device, threads, timeout, shape ("pace PACED"), with_parent."""
    parser.add_argument("bundle")
    parser.add_argument("--device", action="store_true", help="load the device's own half, not its twin for this host")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds one message may take, besides the link's own"
    )
    parser.add_argument("--shape", metavar="LINK", help=f"pace {paced}: 'bundle', or a link as JSON")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")


def say(message: Mapping[str, Any]) -> None:
    """Print one message to the parent, or to whoever reads our stdout."""
    print(json.dumps({**message, "pid": os.getpid()}), flush=True)


def child_main(work: Callable[[], None], with_parent: bool) -> int:
    """Run `work`; a SplitError is printed for people and for the parent, and gives exit status 2."""
    if with_parent:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        work()
    except SplitError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        say({"error": {"type": type(error).__name__, "message": str(error)}})
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a bug of ours: the traceback for stderr, one line for the parent
        traceback.print_exc()
        message = f"unexpected {type(error).__name__}: {last_line(error)}"
        say({"error": {"type": "SplitError", "message": message}})
        return 1
    return 0


def _end_with_stdin() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(3)


def link_json(link: Link) -> str:
    return json.dumps(link.to_json())


def link_of(text: str | None, bundle: Bundle) -> Link | None:
    """The link that --shape names: None, 'bundle', or JSON. TargetError when it is neither."""
    if text is None:
        return None
    if text == "bundle":
        return bundle.link
    try:
        return Link.from_json(json.loads(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise TargetError(
            f"--shape {text!r} is no link ({error}); expected 'bundle' or "
            '\'{"name": "x", "up_bytes_per_s": 1e6, "down_bytes_per_s": 1e6, "rtt_s": 0.01}\''
        ) from error


def frame_timeout_s(bundle: Bundle, link: Link | None, timeout_s: float) -> float:
    """Deadline of one message: `timeout_s`, plus twice the time that the shaped link needs both ways.

    LONGEST_S at most. LinkDownError when `timeout_s` is not above 0.
    """
    if not timeout_s > 0:
        raise LinkDownError(f"timeout is {timeout_s} s; expected more than 0")
    if link is None:
        return min(timeout_s, LONGEST_S)
    back = size_bytes(outputs_named(bundle, bundle.cloud_outputs))
    return min(timeout_s + 2 * (link.up_s(bundle.payload_bytes) + link.down_s(back)), LONGEST_S)


class Child:
    """`python -m MODULE ARGS`, started now, ended with the `with` block. `folder` keeps its stderr."""

    def __init__(self, name: str, module: str, args: Sequence[str], folder: Path) -> None:
        self.name, self._stderr = name, folder / f"{module}.stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                # -P: a clone of this project in the current folder would hide the installed package
                [sys.executable, "-P", "-m", module, *args, "--with-parent"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, errors="replace",
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends both children
            )  # fmt: skip
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def message(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The child's next message. Raises the error it reports; LinkDownError when it dies or says nothing in time."""
        try:
            found = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise LinkDownError(
                f"{self.name} (pid {self.process.pid}) said nothing within {timeout_s:g} s{self._tail()}"
            ) from None
        if found is None:
            raise self.death()
        if "error" in found:
            kind = getattr(errors, str(found["error"]["type"]), SplitError)
            raise kind(f"{self.name}: {found['error']['message']}")
        return found

    def has_ended(self, timeout_s: float) -> bool:
        """Whether the process ends within the time."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def death(self) -> LinkDownError:
        """What to raise for a process that ended without a word."""
        status = self.process.wait()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return LinkDownError(f"{self.name} (pid {self.process.pid}) {how}{self._tail()}")

    def stop(self) -> None:
        """Terminate the process, and kill it when it does not follow."""
        if self.process.poll() is None:
            self.process.terminate()
            if not self.has_ended(STOP_S):
                self.process.kill()
                self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def _tail(self) -> str:
        text = self._stderr.read_text(errors="replace") if self._stderr.exists() else ""
        lines = text.splitlines()[-TAIL_LINES:]
        return "; its last output:\n" + "\n".join(f"  {line}" for line in lines) if lines else "; it printed nothing"

    def _listen(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    self._lines.put(found)
        self._lines.put(None)


def wait_for(child: Child, others: Sequence[Child]) -> dict[str, Any]:
    """The child's next message; when it fails because another child died, the other's death."""
    try:
        return child.message()
    except LinkDownError as error:
        for other in others:
            if other.has_ended(1.0):
                try:
                    while True:
                        other.message(1.0)
                except SplitError as cause:
                    raise type(cause)(f"{cause}\n{error}") from error
        raise
