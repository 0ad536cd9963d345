"""A module cross-compiled here runs on the aarch64 board, with either linker, and says the same bytes as the host."""

import importlib.util
import shutil
import sys

import pytest

from tvm_split.linker import Linker, find_linker
from tvm_split.profile.rpc import connect, remote_vm

TARGET = "raspberry-pi/4b-aarch64"


@pytest.fixture
def session(board):
    with connect(board.tracker, board.key, timeout_s=60) as session:
        yield session


def gnu() -> Linker:
    path = shutil.which("aarch64-linux-gnu-gcc")
    if path is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed: apt-get install gcc-aarch64-linux-gnu")
    return Linker("aarch64", (path,))


def zig() -> Linker:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed: pip install 'tvm-split[arm]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TVM_SPLIT_AARCH64_CC", f"{sys.executable} -m ziglang cc -target aarch64-linux-gnu.2.28")
        return find_linker("aarch64")


def test_the_host_agrees_with_numpy(tiny):
    for ours, theirs in zip(tiny.expected, tiny.numpy(), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("linker", [gnu, zig])
def test_the_board_gives_the_hosts_bytes(session, tiny, tmp_path, linker):
    half = remote_vm(session, tiny.export(TARGET, tmp_path / "tiny.so", linker()))
    outputs = half.run(tiny.inputs)
    assert [array.tobytes() for array in outputs] == [array.tobytes() for array in tiny.expected]
    assert [(array.shape, array.dtype) for array in outputs] == [(array.shape, array.dtype) for array in tiny.expected]


def test_the_board_times_the_whole_function(session, tiny, tmp_path):
    half = remote_vm(session, tiny.export(TARGET, tmp_path / "tiny.so", find_linker("aarch64")))
    seconds = half.time(tiny.inputs, repeats=3)
    assert len(seconds) == 3 and min(seconds) > 0


def test_the_export_is_reproducible(tiny, tmp_path):
    for name in ("one.so", "two.so"):
        tiny.export(TARGET, tmp_path / name, find_linker("aarch64"))
    assert (tmp_path / "one.so").read_bytes() == (tmp_path / "two.so").read_bytes()
