"""Licence plates: rendered frames with one, the detector's boxes, crops for the recogniser, and the text that it reads.

Shared by benchmarks/licence_plate.py and the end-to-end tests. Nothing here is a photograph.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont

from tvm_split import zoo
from tvm_split.zoo.wheels import read

SIZE = 320
WHITE, BLUE = (250, 250, 250), (10, 60, 170)


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
