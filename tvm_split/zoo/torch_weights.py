"""Read the tensors of a torch state dict (.pth, .pt) into NumPy arrays, without torch and without running anything.

The file is a pickle. `_Unpickler` knows the dictionary class, torch's storage class names and the functions that
rebuild a tensor from a storage, and refuses every other name, so nothing that the file names can be run.

Two formats exist. Legacy: three pickles (magic number, protocol, system), the pickle of the state dict, the pickle of
the storage keys, then each storage as an 8-byte little-endian element count and its elements. Zip: NAME/data.pkl and
one file NAME/data/KEY a storage.
"""

from __future__ import annotations

import collections
import io
import pickle
import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_split.errors import ModelError

STORAGE_TYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


@dataclass(slots=True)
class _Storage:
    dtype: np.dtype[Any]
    data: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray[Any, Any]:
        """Return a copy of the elements, each index checked to lie inside the storage."""
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((size - 1) * step for size, step in steps)
        if 0 in self.shape:
            return np.empty(self.shape, self.storage.dtype)
        if self.offset < 0 or min(self.stride, default=0) < 0 or last >= self.storage.data.size:
            raise ModelError(
                f"a tensor of shape {self.shape} reaches element {last} of a storage of {self.storage.data.size}; "
                "the weight file is damaged"
            )
        strides = [step * self.storage.dtype.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(self.storage.data[self.offset :], self.shape, strides).copy()


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module == "torch" and name in STORAGE_TYPES:
            return name
        raise ModelError(f"the weight file asks for {module}.{name}, which a file of tensors does not need: not read")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        return self.storages.setdefault(key, _Storage(STORAGE_TYPES[kind]))


def state_dict(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Return name -> array for every tensor of the state dict in `data`.

    Raises ModelError when the file is cut short or damaged, or names anything but tensors.
    """
    try:
        state = _zip(data) if zipfile.is_zipfile(io.BytesIO(data)) else _legacy(data)
        return {name: value.array() for name, value in state.items() if isinstance(value, _Tensor)}
    except ModelError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ModelError(f"this is not a torch state dict, or the file is cut short: {error!r}") from error


def _zip(data: bytes) -> dict[str, Any]:
    storages: dict[str, _Storage] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        state: dict[str, Any] = _Unpickler(io.BytesIO(archive.read(index)), storages).load()
        for key, storage in storages.items():
            member = archive.read(f"{index.removesuffix('data.pkl')}data/{key}")
            storage.data = np.frombuffer(member, storage.dtype)
    return state


def _legacy(data: bytes) -> dict[str, Any]:
    storages: dict[str, _Storage] = {}
    file = io.BytesIO(data)
    for _ in range(3):  # magic number, protocol version, system information
        _Unpickler(file, storages).load()
    state: dict[str, Any] = _Unpickler(file, storages).load()
    for key in _Unpickler(file, storages).load():
        (count,) = struct.unpack("<q", file.read(8))
        dtype = storages[key].dtype
        storages[key].data = np.frombuffer(data, dtype, count, file.tell())
        file.seek(count * dtype.itemsize, io.SEEK_CUR)
    return state
