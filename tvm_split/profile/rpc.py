"""Run and time a compiled half on a board, over TVM's RPC tracker.

    with connect("127.0.0.1:9190", "rasp4b", timeout_s=60) as session:
        half = remote_vm(session, "bundle/edge.so")
        outputs = half.run([image])
        seconds = half.time([image], repeats=20)

TVM's RPC has no authentication and runs what it is sent: lab networks only.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import tvm
from tvm import relax, rpc
from tvm.rpc import base

from tvm_split.errors import BundleError, LinkDownError, last_line
from tvm_split.profile.tracker import address_of, ask, board_of, count_of, how_to_check, knock, opened
from tvm_split.runtime.executor import flat_arrays

MAIN = "main"
#: seconds to wait for one more board, which may be busy
BUSY_S = 5.0


class BoardSession(rpc.RPCSession):
    """A board held for us until the session is closed, by `close`, a with-statement, or the last reference to it."""

    def close(self) -> None:
        """Give the board back at once; what was loaded on it can no longer be used. May be repeated."""
        with contextlib.suppress(RuntimeError):  # a session that the board ended cannot be ended again
            self.get_function("CloseRPCConnection")()

    def __enter__(self) -> BoardSession:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


def connect(tracker: str, key: str, timeout_s: float) -> BoardSession:
    """A session on a board with `key`, waiting at most `timeout_s` for a busy one.

    LinkDownError when the tracker cannot be reached, has no board with that key, or none is free and answers in time.
    """
    host, port = address_of(tracker)
    deadline = time.monotonic() + timeout_s
    refusal: LinkDownError | None = None
    with opened(host, port, timeout_s) as link:
        count = count_of(ask(link, host, port, [base.TrackerCode.SUMMARY]), host, port, key)
        while True:
            link.settimeout(_left(deadline))
            try:
                question = [base.TrackerCode.REQUEST, key, "", 1]
                given = ask(link, host, port, question, may_wait=True)
            except TimeoutError as error:
                raise refusal or LinkDownError(
                    f"no board with key {key!r} became free within {timeout_s:g} s ({count} at {tracker}, all in use): "
                    f"end the session that holds it, or wait longer; {how_to_check(host, port)} shows the queue"
                ) from error
            address, server_port, match = board_of(given, host, port)
            try:
                knock(address, server_port, _left(deadline))
                session = _in_time(partial(rpc.connect, address, server_port, match), _left(deadline))
                return BoardSession(session._sess)
            except (OSError, UnicodeError, RuntimeError) as error:
                refusal = LinkDownError(
                    f"the board {key!r} at {ascii(address)[1:-1]:.80}:{server_port}, listed by the tracker at "
                    f"{tracker}, opened no session within {timeout_s:g} s ({last_line(error)}). Restart its RPC "
                    "server, with `--custom-addr` when that is not its address as seen from here"
                )
                if time.monotonic() >= deadline:
                    raise refusal from error
                time.sleep(min(1.0, _left(deadline)))


def connect_all(tracker: str, key: str, timeout_s: float) -> list[BoardSession]:
    """A session on every board with `key` that is free: the first as `connect`, the others without waiting for long."""
    sessions = [connect(tracker, key, timeout_s)]
    host, port = address_of(tracker)
    with opened(host, port, timeout_s) as link:
        count = count_of(ask(link, host, port, [base.TrackerCode.SUMMARY]), host, port, key)
    for _ in range(count - 1):
        with contextlib.suppress(LinkDownError):  # in use by others
            sessions.append(connect(tracker, key, BUSY_S))
    return sessions


def upload(session: rpc.RPCSession, path: str | Path) -> tvm.runtime.Module:
    """Copy a library to the board and load it there. Two files of one name do not overwrite each other."""
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path} is no file: expected a library made by `tvm-split compile` or export_library")
    target = f"{uuid.uuid4().hex[:12]}-{path.name}"
    with _on_the_board(session, f"sending {path}"):
        session.upload(str(path), target=target)
    with _on_the_board(session, f"loading {path}", "compile it for the board's own architecture and TVM version"):
        return session.load_module(target)


def remote_vm(session: rpc.RPCSession, lib_path: str | Path) -> RemoteHalf:
    """Upload a compiled Relax module and start a virtual machine for it on the board."""
    return RemoteHalf(session, upload(session, lib_path), str(lib_path))


class RemoteHalf:
    """The function `main` of a compiled module, on a board. Inputs and outputs stand in the function's order."""

    def __init__(self, session: rpc.RPCSession, module: tvm.runtime.Module, name: str) -> None:
        self._session, self._name = session, name
        self._device = session.cpu()
        with _on_the_board(session, f"starting {name}", "it must be a Relax module with a function main"):
            self._vm = relax.VirtualMachine(module, self._device)
            self._arity = int(self._vm.module["get_function_arity"](MAIN))

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs of one call; nested tuples are flattened."""
        with self._called(inputs, "running"):
            self._vm.invoke_stateful(MAIN)
            return list(flat_arrays(self._vm.get_outputs(MAIN)))

    def time(self, inputs: Sequence[np.ndarray], repeats: int) -> list[float]:
        """Seconds of each of `repeats` calls after an uncounted first, timed on the board: no network is in them."""
        if repeats < 1:
            raise ValueError(f"repeats is {repeats}; expected 1 or more")
        with self._called(inputs, "timing"):
            evaluate = self._vm.time_evaluator("invoke_stateful", self._device, number=1, repeat=repeats)
            return [float(seconds) for seconds in evaluate(MAIN).results]

    @contextlib.contextmanager
    def _called(self, inputs: Sequence[np.ndarray], what: str) -> Iterator[None]:
        if len(inputs) != self._arity:
            raise BundleError(f"{self._name}: main takes {self._arity} inputs, {len(inputs)} were given")
        shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in inputs)
        with _on_the_board(self._session, f"{what} {self._name} on ({shapes})", "compare with the bundle's manifest"):
            sent = [tvm.runtime.tensor(np.ascontiguousarray(array), self._device) for array in inputs]
            self._vm.set_input(MAIN, *sent)
            yield


@contextlib.contextmanager
def _on_the_board(session: rpc.RPCSession, what: str, advice: str = "") -> Iterator[None]:
    """Turn what TVM raises into BundleError when the board still answers, and LinkDownError when it does not."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, TypeError, AttributeError) as error:
        reason = last_line(error)
        if not still_there(session):
            raise LinkDownError(
                f"{what}: the board ended the session ({reason}). Look at its RPC server's output: a module "
                "that crashes ends the server as well; start it again"
            ) from error
        raise BundleError(f"{what} failed on the board: {reason}" + (f"; {advice}" if advice else "")) from error


def still_there(session: rpc.RPCSession) -> bool:
    """Whether a board's session still answers."""
    try:
        session.get_function("tvm.rpc.server.workpath")
    except Exception:
        return False
    return True


def _in_time(call: Callable[[], rpc.RPCSession], timeout_s: float) -> rpc.RPCSession:
    """What `call` gives or raises, TimeoutError when that takes longer: TVM's own connecting waits for ever. Its thread
    then waits on; a session that it gets after all ends with it."""
    made: Future[rpc.RPCSession] = Future()

    def run() -> None:
        try:
            session = call()
        except Exception as error:
            if made.set_running_or_notify_cancel():
                made.set_exception(error)
            return
        if made.set_running_or_notify_cancel():  # False: nobody waits for it any more
            made.set_result(session)

    threading.Thread(target=run, daemon=True).start()
    try:
        return made.result(timeout_s)
    except TimeoutError:
        if not made.cancel():  # it was done at the last moment, or raised this
            return made.result()
        raise TimeoutError("it answers to an unknown key, and then no more") from None


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)
