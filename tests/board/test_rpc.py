"""Sessions over the tracker, with an RPC server of this machine's own architecture: no board is needed."""

import contextlib
import json
import os
import socket
import struct
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tvm import relax
from tvm.rpc import base
from tvm.rpc.server import Server
from tvm.rpc.tracker import Tracker

from tvm_split import pipeline
from tvm_split.errors import BundleError, LinkDownError
from tvm_split.extract import graph as extract_graph
from tvm_split.profile.rpc import connect, remote_vm, upload
from tvm_split.profile.source import Boards, costs_of
from tvm_split.profile.tracker import _receive
from tvm_split.targets import load_target

KEY = "here"


@pytest.fixture(scope="module")
def tracker():
    made = Tracker("127.0.0.1", port=20000 + os.getpid() % 20000, port_end=60000, silent=True)
    yield f"127.0.0.1:{made.port}"
    made.terminate()


def start_server(tracker: str, key: str) -> Server:
    host, port = tracker.split(":")
    first = 20000 + os.getpid() % 20000
    server = Server("127.0.0.1", first, 60000, key=key, tracker_addr=(host, int(port)), silent=True)
    for _ in range(100):  # it registers in a thread of its own
        try:
            connect(tracker, key, timeout_s=5).close()
            return server
        except LinkDownError:
            time.sleep(0.1)
    raise AssertionError(f"the server {key} did not register")


@pytest.fixture(scope="module")
def server(tracker):
    made = start_server(tracker, KEY)
    yield made
    made.terminate()


@pytest.fixture
def session(tracker, server):
    with connect(tracker, KEY, timeout_s=30) as made:
        yield made


@pytest.fixture(scope="module")
def library(tiny, tmp_path_factory) -> str:
    return tiny.export("llvm", tmp_path_factory.mktemp("tiny") / "tiny.so")


def test_runs_and_gives_the_hosts_bytes(session, tiny, library):
    half = remote_vm(session, library)
    for _ in range(2):
        assert [a.tobytes() for a in half.run(tiny.inputs)] == [a.tobytes() for a in tiny.expected]


def test_takes_arrays_that_are_not_contiguous(session, tiny, library):
    turned = [np.asfortranarray(array) for array in tiny.inputs]
    outputs = remote_vm(session, library).run(turned)
    assert [a.tobytes() for a in outputs] == [a.tobytes() for a in tiny.expected]


def test_times_every_repeat(session, tiny, library):
    seconds = remote_vm(session, library).time(tiny.inputs, repeats=5)
    assert len(seconds) == 5 and all(0 < value < 10 for value in seconds)


def test_layers_are_timed_on_the_boards_there_are_and_here_for_the_others(tracker, server, build):
    weight = relax.const(np.ones((16, 16), "float32"))
    sorted_product = build(lambda emit, x: relax.op.sort(emit(relax.op.matmul(x, weight))), (1, 16))
    mod, host = pipeline.layers()(sorted_product), load_target("host")
    graph = extract_graph(mod, "small")

    def machines(boards, cloud=host):
        *sides, warnings = costs_of("measured", graph, mod, host, cloud, boards)
        assert all(costs.of(layer.name) > 0 for costs in sides for layer in graph.layers)
        return [costs.provenance["machine"] == "host, over RPC" for costs in sides], warnings

    assert machines(Boards(tracker, edge_key=KEY, cloud_key=KEY)) == ([True, True], [])
    found, (warning,) = machines(Boards(tracker, edge_key=KEY), replace(host, name="another"))
    assert found == [True, False]
    assert "The cloud's times were measured on this machine" in warning and "--cloud-key KEY" in warning


def test_two_files_of_one_name_do_not_disturb_each_other(session, tiny, library):
    halves = [remote_vm(session, library) for _ in range(2)]
    for half in halves:
        assert half.run(tiny.inputs)[0].tobytes() == tiny.expected[0].tobytes()


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_repeats_is_an_error(session, tiny, library, repeats):
    with pytest.raises(ValueError, match="expected 1 or more"):
        remote_vm(session, library).time(tiny.inputs, repeats)


def test_wrong_inputs_are_named_and_the_session_lives_on(session, tiny, library):
    half = remote_vm(session, library)
    with pytest.raises(BundleError, match=r"tiny.so: main takes 2 inputs, 1 were given"):
        half.run(tiny.inputs[:1])
    with pytest.raises(BundleError, match=r"float32\[1, 3, 16, 16\], float32\[1, 3, 16, 16\]"):
        half.run([tiny.inputs[0], tiny.inputs[0]])
    assert half.run(tiny.inputs)[0].tobytes() == tiny.expected[0].tobytes()


def test_a_file_that_is_no_library(session, tmp_path):
    with pytest.raises(BundleError, match="is no file"):
        upload(session, tmp_path / "absent.so")
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(BundleError, match=r"loading .*text.so failed on the board: .*; compile it for the board's own"):
        upload(session, tmp_path / "text.so")


def test_a_closed_session_is_a_link_down(tracker, server, tiny, library):
    session = connect(tracker, KEY, timeout_s=30)
    half = remote_vm(session, library)
    session.close()
    session.close()
    with pytest.raises(LinkDownError, match="the board ended the session"):
        half.run(tiny.inputs)
    connect(tracker, KEY, timeout_s=30).close()


def test_a_board_that_dies_is_a_link_down(tracker, tiny, library):
    dying = start_server(tracker, "dying")
    half = remote_vm(connect(tracker, "dying", timeout_s=30), library)
    dying.terminate()
    with pytest.raises(LinkDownError, match=r"running .*tiny.so .*: the board ended the session"):
        half.run(tiny.inputs)


def test_a_busy_board_is_waited_for_and_then_named(tracker, server):
    with connect(tracker, KEY, timeout_s=30) as held:
        start = time.monotonic()
        with pytest.raises(LinkDownError, match=rf"no board with key 'here' became free within 0.5 s \(1 at {tracker}"):
            connect(tracker, KEY, timeout_s=0.5)
        assert time.monotonic() - start < 5
        threading.Timer(0.5, held.close).start()
        connect(tracker, KEY, timeout_s=30).close()


def test_an_unknown_key_lists_the_known(tracker, server):
    with pytest.raises(LinkDownError, match=r"no board with key 'rasp9'; it has: here \(1\)"):
        connect(tracker, "rasp9", timeout_s=5)


def test_a_tracker_that_is_not_there_gives_the_command_to_check():
    with socket.socket() as taken:  # bound, never listening: refuses
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(LinkDownError) as caught:
            connect(f"127.0.0.1:{port}", KEY, timeout_s=5)
    assert f"`python3 -m tvm.exec.query_rpc_tracker --host 127.0.0.1 --port {port}`" in str(caught.value)


@pytest.mark.parametrize("said", [b"HTTP", b"", None, struct.pack("<i", base.RPC_TRACKER_MAGIC)])
def test_something_else_at_the_trackers_port(said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            link, _ = listener.accept()
            with link:
                link.sendall(said or b"")
                if said != b"":
                    time.sleep(1)

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(LinkDownError, match="is no RPC tracker"):
            connect(f"127.0.0.1:{listener.getsockname()[1]}", KEY, timeout_s=0.5)


def sent(value):
    data = json.dumps(value).encode()
    return struct.pack("<i", len(data)) + data


SUMMARY = [base.TrackerCode.SUCCESS, {"server_info": [{"key": f"server:{KEY}"}]}]


@pytest.mark.parametrize(
    "answers",
    [[None], [[0]], [[0, {}]], [[0, {"server_info": [1]}]], [[0, {"server_info": [{"key": 1}]}]], [SUMMARY, None],
     [SUMMARY, [0, None]], [SUMMARY, [0, ["127.0.0.1", "x", "m"]]], [SUMMARY, [0, ["127.0.0.1", 99999999, "m"]]]],
)  # fmt: skip
def test_a_tracker_that_answers_something_else(answers):
    with (
        fake_tracker([sent(answer) for answer in answers]) as address,
        pytest.raises(LinkDownError, match="is no RPC tracker, or a broken one"),
    ):
        connect(address, KEY, timeout_s=30)


def test_a_board_whose_address_is_no_name():
    given = [base.TrackerCode.SUCCESS, ["a..b", 9, "match"]]
    with (
        fake_tracker([sent(SUMMARY), sent(given)]) as address,
        pytest.raises(LinkDownError, match=r"opened no session|no RPC tracker"),
    ):
        connect(address, KEY, timeout_s=0.5)


@pytest.mark.parametrize("size", [2**31 - 1, -1, 0])
def test_an_answer_that_no_tracker_gives_is_not_waited_for(size):
    with (
        fake_tracker([struct.pack("<i", size)]) as address,
        pytest.raises(LinkDownError, match=f"announces an answer of {size} bytes"),
    ):
        connect(address, KEY, timeout_s=30)


def test_an_answer_has_an_end(monkeypatch):
    """One byte a second: each comes in time, all of them never."""

    class Dripping:
        now = 0.0

        def gettimeout(self):
            return 10.0

        def settimeout(self, seconds):
            assert seconds > 0

        def recv(self, size):
            self.now += 1.0
            return b"["

    link = Dripping()
    monkeypatch.setattr("tvm_split.profile.tracker.time", SimpleNamespace(monotonic=lambda: link.now))
    assert _receive(link, 5, 10.0) == b"[" * 5
    with pytest.raises(TimeoutError, match="did not end its answer"):
        _receive(link, 1000, 10.0)
    assert link.now <= 12


@contextlib.contextmanager
def fake_tracker(said):
    """Says hello as a tracker does, then these, a tenth of a second apart, whatever it is asked."""

    def answer():
        link, _ = listener.accept()
        with link, contextlib.suppress(OSError):
            link.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            for part in said:
                time.sleep(0.1)
                link.sendall(part)
            time.sleep(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_host_whose_name_is_none_cannot_be_reached():
    with pytest.raises(LinkDownError, match=r"at a\.\.b:9190 cannot be reached"):
        connect("a..b:9190", KEY, timeout_s=1)


@pytest.mark.parametrize(
    "address", ["", f"h:{'9' * 5000}", "9190", "host:", ":9190", "host:port", "host:0", "host:65536"]
)
def test_an_address_that_is_none(address):
    with pytest.raises(LinkDownError, match="expected HOST:PORT"):
        connect(address, KEY, timeout_s=1)


@pytest.mark.parametrize("key", ["unheard", "unanswered", "knocked"])
def test_a_board_that_is_listed_but_silent(tracker, key):
    """A board without power, or one that hangs, even after the first answer: the tracker still lists it. TVM's own
    connect would wait for ever."""

    def answer_once():
        with board.accept()[0] as link:
            base.recvall(link, 8 + len("client:tvm-split-knock"))
            link.sendall(struct.pack("<i", base.RPC_CODE_MISMATCH))

    host, port = tracker.split(":")
    with socket.socket() as board, socket.create_connection((host, int(port))) as link:
        board.bind(("127.0.0.1", 0))
        if key != "unheard":
            board.listen()
        if key == "knocked":
            threading.Thread(target=answer_once, daemon=True).start()
        link.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
        base.recvall(link, 4)
        for question in (
            [base.TrackerCode.UPDATE_INFO, {"key": f"server:{key}", "addr": ["127.0.0.1", 1]}],
            [base.TrackerCode.PUT, key, [board.getsockname()[1], f"{key}:0.5"], None],
        ):
            base.sendjson(link, question)
            assert base.recvjson(link) == base.TrackerCode.SUCCESS
        why = "it answers to an unknown key, and then no more" if key == "knocked" else ""
        with pytest.raises(LinkDownError, match=f"board '{key}' at 127.0.0.1:.* opened no session within 1.5 s.*{why}"):
            connect(tracker, key, timeout_s=1.5)
