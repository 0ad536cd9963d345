"""Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it: pictures of 28 x 28 bytes, ten classes.

H. Xiao, K. Rasul, R. Vollgraf, 2017; MIT. The files stay where the package puts them; none of them is in the project.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from tvm_split.errors import DataError

FOLDER = Path("/usr/share/datasets/fashion-mnist")
#: the byte of an idx file's head that says "unsigned bytes"
UNSIGNED_BYTES = 8


def read_idx(path: Path) -> np.ndarray:
    """The array of a gzipped idx file of unsigned bytes: two zeros, 8, the rank, each extent in big-endian, the bytes.

    DataError, with the file's name, when it is not there or is something else.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; apt-get install dataset-fashion-mnist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from error
    if len(data) < 4 or data[:3] != bytes([0, 0, UNSIGNED_BYTES]) or len(data) < 4 + 4 * data[3]:
        raise DataError(
            f"{path}: its head is {data[:4].hex()}; expected 000008 and the rank, as idx files of bytes have"
        )
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path}: it holds {values.size} bytes, and its head says {' x '.join(map(str, shape))}")
    return values.reshape(shape)


def pictures(part: str, folder: Path = FOLDER) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (N, 1, 28, 28) and classes int64 (N,) of the "train" or the "t10k" part."""
    found = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    classes = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    if found.ndim != 3 or len(found) != len(classes):
        raise DataError(f"{folder}: the {part} part has pictures {found.shape} and {classes.shape} classes")
    return found[:, np.newaxis], classes.astype(np.int64)
