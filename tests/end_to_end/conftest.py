"""What the end-to-end tests share: split networks, rendered plates, and the reading of both networks' outputs."""

import importlib.util
import itertools
import os
import random
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import tvm
from PIL import Image, ImageDraw, ImageFont

from tvm_split import pipeline, zoo
from tvm_split.calibration.gather import gather
from tvm_split.calibration.ranges import range_by
from tvm_split.compile_half import compile_half
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.pack_cut import read_layout
from tvm_split.quantizer import Quantizer
from tvm_split.runtime.executor import Half
from tvm_split.targets import load_target
from tvm_split.workflow import Request, prepare
from tvm_split.zoo.wheels import read

SIZE = 320
WHITE, BLUE = (250, 250, 250), (10, 60, 170)


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


def plate(text: str) -> Image.Image:
    """White letters on blue with a white border, as on Chinese plates of 440 by 140 mm."""
    image = Image.new("RGB", (440, 140), BLUE)
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((6, 6, 433, 133), 12, outline=WHITE, width=4)
    font = ImageFont.load_default(100)  # the font inside Pillow, the same everywhere
    pitch = 57
    left = 220 - pitch * len(text) / 2 + 24
    for i, letter in enumerate(text):
        at = (left + i * pitch, 70)
        draw.text(at, letter, font=font, fill=WHITE, anchor="mm", stroke_width=2, stroke_fill=WHITE)
    return image


class Frame(NamedTuple):
    """A rendered frame, uint8 [320, 320, 3] RGB, and where its plate is: left, top, right, bottom."""

    pixels: np.ndarray
    box: np.ndarray


def frame(text: str, width: int = 220, centre: tuple[int, int] = (160, 170), seed: int = 0) -> Frame:
    """A plate `width` pixels wide on a grey car before a blurred background."""
    noise = np.random.default_rng(seed).integers(90, 150, (40, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    x, y = centre
    draw.rectangle((x - 1.3 * width, y - 0.9 * width, x + 1.3 * width, y + 0.5 * width), fill=(60, 60, 65))
    height = round(width * 140 / 440)
    left, top = round(x - width / 2), round(y - height / 2)
    image.paste(plate(text).resize((width, height), Image.Resampling.BICUBIC), (left, top))
    return Frame(np.asarray(image), np.array([left, top, left + width, top + height], np.float32))


def priors() -> np.ndarray:
    """Centre x, centre y and side of the detector's 4200 anchors, in pixels: two a place on three grids."""
    return np.array(
        [
            ((column + 0.5) * step, (row + 0.5) * step, side)
            for step, sides in ((8, (24, 48)), (16, (96, 192)), (32, (384, 768)))
            for row, column in itertools.product(range(SIZE // step), repeat=2)
            for side in sides
        ],
        np.float32,
    )


class Found(NamedTuple):
    score: float
    box: np.ndarray


def best_plate(outputs: list[np.ndarray]) -> Found:
    """The likeliest plate in the detector's outputs: box offsets, classes, landmarks (not used here).

    RetinaFace's coding: offsets of the centre are in tenths of the anchor, sizes exponents of a fifth.
    """
    offsets, classes, _ = (output[0] for output in outputs)
    best = int(classes[:, 1].argmax())
    x, y, side = priors()[best]
    centre = np.array([x, y]) + offsets[best, :2] * 0.1 * side
    half = side * np.exp(offsets[best, 2:] * 0.2) / 2
    return Found(float(classes[best, 1]), np.concatenate([centre - half, centre + half]))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    both = sides.prod()
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def crop(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box's pixels as the recogniser takes them: [1, 48, 320, 3], 48 high, grey to the right of them."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    width = min(SIZE, round((right - left) * 48 / (bottom - top)))
    cut = Image.fromarray(pixels).crop((left, top, right, bottom)).resize((width, 48), Image.Resampling.BILINEAR)
    wide = np.full((1, 48, SIZE, 3), 128, np.uint8)
    wide[0, :, :width] = np.asarray(cut)
    return wide


class Reader:
    """Greedy CTC decoding with the characters that the recogniser's file names: blank first, space last."""

    def __init__(self) -> None:
        model = onnxruntime.InferenceSession(read(zoo.entry("ppocr-rec").source), providers=["CPUExecutionProvider"])
        characters = model.get_modelmeta().custom_metadata_map["character"].removesuffix("\n").split("\n")
        self.characters = ["", *characters, " "]

    def __call__(self, probabilities: np.ndarray) -> str:
        """Text of [1, steps, characters]."""
        assert probabilities.shape[2] == len(self.characters)
        return "".join(self.characters[i] for i, _ in itertools.groupby(probabilities[0].argmax(axis=1)))


@dataclass
class Plates:
    """Rendering and reading, as one fixture."""

    reader: Reader
    frame = staticmethod(frame)
    best = staticmethod(best_plate)
    overlap = staticmethod(overlap)
    crop = staticmethod(crop)


@pytest.fixture(scope="session")
def plates() -> Plates:
    return Plates(Reader())


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
