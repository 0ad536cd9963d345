"""Boards to test on: one behind a tracker that the environment names, and a small module to run on any."""

import os
from typing import NamedTuple

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.target import Target


class Board(NamedTuple):
    host: str
    port: int
    key: str

    @property
    def tracker(self) -> str:
        return f"{self.host}:{self.port}"


@pytest.fixture(scope="session")
def board() -> Board:
    """The board at TVM_SPLIT_TRACKER with key TVM_SPLIT_EDGE_KEY (rasp4b when unset); skips when there is none."""
    tracker = os.environ.get("TVM_SPLIT_TRACKER")
    if not tracker:
        pytest.skip('no board: eval "$(python tests/board/emulated_board.py up)" makes one and names it')
    host, _, port = tracker.rpartition(":")
    return Board(host, int(port), os.environ.get("TVM_SPLIT_EDGE_KEY", "rasp4b"))


@I.ir_module
class Tiny:
    """Two outputs, so that tuples cross too. Small integers make every order of summation exact."""

    @R.function
    def main(x: R.Tensor((1, 3, 16, 16), "float32"), w: R.Tensor((8, 3, 3, 3), "float32")):
        with R.dataflow():
            y = R.nn.conv2d(x, w, padding=(1, 1))
            z = R.nn.relu(y)
            out = (z, R.sum(z, axis=[2, 3]))
            R.output(out)
        return out


class TinyModule:
    """What the tests compile, its inputs, and what the host makes of them."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        self.inputs = [random.integers(-8, 9, shape).astype("float32") for shape in ((1, 3, 16, 16), (8, 3, 3, 3))]
        machine = relax.VirtualMachine(tvm.compile(Tiny, target=Target("llvm")), tvm.cpu())
        self.expected = [output.numpy() for output in machine["main"](*(tvm.runtime.tensor(a) for a in self.inputs))]

    def export(self, target: str, path, linker=None) -> str:
        tvm.compile(Tiny, target=Target(target)).export_library(str(path), fcompile=linker)
        return str(path)

    def numpy(self) -> list[np.ndarray]:
        x, w = self.inputs
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
        z = np.maximum(np.einsum("nchwij,ocij->nohw", windows, w), 0)
        return [z, z.sum(axis=(2, 3))]


@pytest.fixture(scope="session")
def tiny() -> TinyModule:
    return TinyModule()
