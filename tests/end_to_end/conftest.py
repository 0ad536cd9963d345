"""What the end-to-end tests share: split networks, rendered plates, and the reading of both networks' outputs."""

import importlib
import importlib.util
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import tvm

from tvm_split import pipeline, zoo
from tvm_split.calibration.gather import gather
from tvm_split.calibration.ranges import range_by
from tvm_split.compile_half import compile_half
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.pack_cut import read_layout
from tvm_split.prepare import prepare
from tvm_split.quantizer import Quantizer
from tvm_split.runtime.executor import Half
from tvm_split.targets import load_target
from tvm_split.workflow import Request


class Board(NamedTuple):
    tracker: str
    key: str


@pytest.fixture(scope="session")
def board() -> Board:
    """The board at TVM_SPLIT_TRACKER with key TVM_SPLIT_EDGE_KEY (rasp4b when unset); skips when there is none."""
    tracker = os.environ.get("TVM_SPLIT_TRACKER")
    if not tracker:
        pytest.skip('no board: eval "$(python tests/board/emulated_board.py up)" makes one and names it')
    return Board(tracker, os.environ.get("TVM_SPLIT_EDGE_KEY", "rasp4b"))


@dataclass
class Network:
    """A network of the zoo as a module of layers; with `preprocess` it reads bytes, height by width by RGB."""

    mod: tvm.IRModule
    graph: Graph

    @classmethod
    def load(cls, name: str, preprocess: str | None = None) -> "Network":
        return cls.read(f"zoo:{name}", preprocess)

    @classmethod
    def read(cls, model: str, preprocess: str | None = None) -> "Network":
        return cls(*prepare(Request(model=model, preprocess=preprocess)))

    def narrow_cut(self, begin: float, end: float) -> list[str]:
        """The first layers up to where the fewest elements cross, between these shares of all layers."""
        names = [layer.name for layer in self.graph.layers]
        lengths = range(round(begin * len(names)), round(end * len(names)))

        def elements(length: int) -> int:
            return sum(self.graph.tensor[name].elements for name in self.graph.crossing(names[:length]))

        return names[: min(lengths, key=elements)]

    def random_cut(self, draw: random.Random) -> list[str]:
        """A downward-closed set of one to all but one of the layers."""
        count = draw.randint(1, len(self.graph.layers) - 1)
        left = [layer.name for layer in self.graph.layers]
        chosen: list[str] = []
        while len(chosen) < count:
            ready = [name for name in left if all(before in chosen for before in self.graph.predecessors(name))]
            name = draw.choice(ready)
            left.remove(name)
            chosen.append(name)
        return chosen

    @cached_property
    def runner(self) -> LayerRunner:
        """Its layers compiled for this machine, once."""
        return LayerRunner(self.mod)

    def quantizers(self, edge: list[str], bits: int, samples: list[np.ndarray]) -> dict[str, Quantizer]:
        """A quantiser for every float that crosses, its range from the samples."""
        graph = self.graph
        crossing = [n for n in graph.crossing(edge) if graph.tensor[n].is_float and n not in graph.inputs]
        found = gather(self.runner, crossing, [{graph.inputs[0]: sample} for sample in samples])
        return {name: range_by("min-max", found[name], bits).quantizer for name in crossing}

    def halves(self, edge: list[str], quantizers: dict[str, Quantizer]) -> tuple[tvm.IRModule, tvm.IRModule]:
        return pipeline.halves(pipeline.at_cut(edge, quantizers)(self.mod))

    def split(self, edge: list[str], quantizers: dict[str, Quantizer], folder: Path) -> "Split":
        return Split(self, edge, self.halves(edge, quantizers), folder)

    def whole(self, folder: Path) -> Half:
        return built(self.mod, folder / "whole.so")


class Split:
    """Both halves compiled for this machine; all that goes from one to the other is the payload."""

    def __init__(
        self, network: Network, edge: list[str], halves: tuple[tvm.IRModule, tvm.IRModule], folder: Path
    ) -> None:
        graph = network.graph
        self.outputs = tuple(dict.fromkeys(graph.outputs))
        self.at_edge = [name for name in self.outputs if graph.producer[name] in (None, *edge)]
        self.at_cloud = [name for name in self.outputs if name not in self.at_edge]
        self.parts = read_layout(halves[0])
        self.edge = built(halves[0], folder / "edge.so")
        self.cloud = built(halves[1], folder / "cloud.so")

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The network's outputs in its own order."""
        payload, *early = self.edge.run(inputs)
        assert payload.dtype == np.uint8
        assert payload.size == sum(part.size_bytes for part in self.parts)
        late = self.cloud.run([payload])
        found = dict(zip(self.at_edge, early, strict=True)) | dict(zip(self.at_cloud, late, strict=True))
        return [found[name] for name in self.outputs]


def built(mod: tvm.IRModule, path: Path) -> Half:
    compile_half(mod, load_target("host"), path)
    return Half(path)


@pytest.fixture(scope="session")
def network():
    return Network.load


@pytest.fixture(scope="session")
def network_file():
    return Network.read


@pytest.fixture(scope="session")
def session():
    """The onnxruntime session of a network of the zoo."""
    return lambda name: onnxruntime.InferenceSession(str(zoo.fetch(name)), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def plates() -> Iterator[ModuleType]:
    """benchmarks/plates.py: rendering and reading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        yield importlib.import_module("plates")


@pytest.fixture(scope="session")
def guest():
    """tests/board/guest.py; skips when there is no emulator or no compiler for it."""
    path = Path(__file__).resolve().parents[1] / "board" / "guest.py"
    spec = importlib.util.spec_from_file_location("guest", path)
    module = sys.modules["guest"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.qemu() is None:
        pytest.skip("no emulator: `python tests/board/emulated_board.py up` fetches one")
    if module.compiler() is None:
        pytest.skip("no compiler for aarch64: apt-get install gcc-aarch64-linux-gnu, or pip install ziglang")
    return module
