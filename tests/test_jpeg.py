"""JPEG as the runtime sends it: the frame comes back, and nothing hostile is decoded."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from tvm_split import zoo
from tvm_split.errors import BundleError
from tvm_split.jpeg import decode, encode, most_bytes

SHAPE = (1, 48, 64, 3)


def test_a_photograph_survives():
    with Image.open(zoo.photo()) as photo:
        frame = np.asarray(photo.convert("RGB").resize((64, 48)))[np.newaxis]
    coded = encode(frame)
    assert coded[:2] == b"\xff\xd8" and len(coded) < frame.size / 3
    back = decode(coded, SHAPE)
    assert back.shape == SHAPE and back.dtype == np.uint8
    assert np.abs(back.astype(int) - frame).mean() < 6


def test_noise_at_full_quality_is_within_the_limit():
    noise = np.random.default_rng(0).integers(0, 256, (1, 200, 300, 3), np.uint8)
    assert len(encode(noise, quality=100)) < most_bytes(noise.shape)


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"no picture", png(), encode(np.zeros(SHAPE, np.uint8))[:200]])
def test_what_is_no_jpeg(data):
    with pytest.raises(BundleError, match="should be a JPEG of 64 x 48 are none"):
        decode(data, SHAPE)


@pytest.mark.parametrize("side", [10_000, 65_500])
def test_a_huge_size_in_the_header_is_refused_unread(side):
    data = bytearray(encode(np.zeros((16, 32, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5  # the frame header's height and width
    data[at : at + 4] = side.to_bytes(2, "big") * 2
    with pytest.raises(BundleError, match="JPEG"), warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(bytes(data), SHAPE)


def test_another_size_is_refused():
    with pytest.raises(BundleError, match=r"JPEG of \(32, 16\); expected \(64, 48\)"):
        decode(encode(np.zeros((16, 32, 3), np.uint8)), SHAPE)
