"""idx files: what is written comes back; what is none is refused by name."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_split.errors import DataError


@pytest.fixture(scope="module")
def fashion_mnist(script):
    return script("fashion_mnist")


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes())


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(0, 7), max_size=4), seed=st.integers(0, 99))
def test_what_is_written_comes_back(fashion_mnist, tmp_path_factory, shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path_factory.mktemp("idx") / "some.gz"
    path.write_bytes(idx(array))
    np.testing.assert_array_equal(fashion_mnist.read_idx(path), array)


@pytest.mark.parametrize(
    "data, words",
    [
        (idx(np.zeros((3, 4), np.uint8))[:-9], "cannot be unpacked"),
        (b"plain", "cannot be unpacked"),
        (idx(np.zeros(4, np.uint8), kind=13), "its head is 00000d01"),
        (gzip.compress(b"\0\0\x08"), "its head is 000008"),
        (gzip.compress(struct.pack(">BBBB2I", 0, 0, 8, 2, 3, 4) + bytes(11)), "11 bytes, and its head says 3 x 4"),
    ],
)
def test_what_is_no_idx_file_is_refused(fashion_mnist, tmp_path, data, words):
    path = tmp_path / "some.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as raised:
        fashion_mnist.read_idx(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_says_what_to_install(fashion_mnist, tmp_path):
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist.pictures("t10k", tmp_path)


def test_pictures_and_their_classes(fashion_mnist, tmp_path):
    found, classes = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8), np.array([9, 0], np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(idx(found))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(classes))
    made, labels = fashion_mnist.pictures("t10k", tmp_path)
    np.testing.assert_array_equal(made, found[:, np.newaxis])
    assert (labels.dtype, labels.tolist()) == (np.int64, [9, 0])
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(classes[:1]))
    with pytest.raises(DataError, match=r"\(1,\) classes"):
        fashion_mnist.pictures("t10k", tmp_path)
