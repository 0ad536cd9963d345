"""Both torch formats are read without torch, and nothing but tensors is."""

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from tvm_split.errors import ModelError
from tvm_split.zoo.torch_weights import state_dict

DATA = np.arange(12, dtype=np.float32)


class FloatStorage:
    """Stands for torch's class of this name."""


def _rebuild_tensor_v2(*_):
    """Stands for torch's function of this name."""


class _Tensor:
    def __init__(self, offset=0, shape=(3, 4), stride=(4, 1)):
        self.arguments = (_Storage(), offset, shape, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class _Storage:
    pass


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return ("storage", FloatStorage, "7", "cpu", DATA.size) if isinstance(obj, _Storage) else None


def pickled(obj):
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(obj)
    return file.getvalue()


@pytest.fixture
def torch_names(monkeypatch):
    """Let pickle write the names that torch's files hold, whether or not torch is installed."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, owner in ((torch, FloatStorage), (utils, _rebuild_tensor_v2)):
        monkeypatch.setattr(owner, "__module__", module.__name__)
        setattr(module, owner.__name__, owner)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def legacy(state):
    storage = struct.pack("<q", DATA.size) + DATA.tobytes()
    return b"".join(map(pickled, (0x1950A86A, 1001, {}, state, ["7"]))) + storage


def zipped(state):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickled(state))
        archive.writestr("net/data/7", DATA.tobytes())
    return file.getvalue()


@pytest.mark.parametrize("write", [legacy, zipped])
def test_reads_tensors_with_their_strides(torch_names, write):
    state = collections.OrderedDict(whole=_Tensor(), turned=_Tensor(0, (4, 3), (1, 4)), part=_Tensor(5, (2,), (3,)))
    arrays = state_dict(write(state))
    assert list(arrays) == ["whole", "turned", "part"]
    np.testing.assert_array_equal(arrays["whole"], DATA.reshape(3, 4))
    np.testing.assert_array_equal(arrays["turned"], DATA.reshape(3, 4).T)
    np.testing.assert_array_equal(arrays["part"], DATA[[5, 8]])


@pytest.mark.parametrize("write", [legacy, zipped])
def test_a_tensor_outside_its_storage_is_refused(torch_names, write):
    with pytest.raises(ModelError, match="reaches element 12 of a storage of 12"):
        state_dict(write({"w": _Tensor(1, (3, 4), (4, 1))}))


class _Evil:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize("write", [legacy, zipped])
def test_any_other_name_is_refused(torch_names, write):
    with pytest.raises(ModelError, match=r"asks for (posix|nt)\.system"):
        state_dict(write({"w": _Evil()}))


def test_a_file_that_is_cut_short_is_refused(torch_names):
    with pytest.raises(ModelError, match="cut short"):
        state_dict(legacy({"w": _Tensor()})[:-4])
    with pytest.raises(ModelError, match="cut short"):
        state_dict(b"")
