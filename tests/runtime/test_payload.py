"""Payloads of every width are read back, and damaged layouts are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import BundleError
from tvm_split.runtime.payload import check_layout, unpack


def pack(codes, bits):
    """The definition, bit by bit: element i takes bits [i * bits, (i + 1) * bits)."""
    whole = sum(int(code) << (i * bits) for i, code in enumerate(codes))
    return np.frombuffer(whole.to_bytes(-(-len(codes) * bits // 8), "little"), np.uint8)


@given(st.integers(1, 8), st.integers(0, 60), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_any_width_from_any_byte(part, bits, count, offset, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, count).astype(np.uint8)
    payload = np.concatenate([np.full(offset, 255, np.uint8), pack(codes, bits), np.full(3, 255, np.uint8)])
    assert (unpack(payload, part(bits, (count,), "uint8", offset)) == codes).all()


@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32", "int32", "int64", "float64"])
def test_wide_elements_keep_their_bits(part, dtype):
    values = np.arange(6).astype(dtype).reshape(2, 3)
    payload = np.frombuffer(values.tobytes(), np.uint8)
    found = unpack(payload, part(values.itemsize * 8, (2, 3), dtype))
    assert found.dtype == values.dtype and (found == values).all()


def test_signed_bytes(part):
    values = np.array([-128, -1, 0, 127], np.int8)
    assert (unpack(values.view(np.uint8), part(8, (4,), "int8")) == values).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 9}, "has 9 bits"),
        ({"size_bytes": 3}, "has 3 bytes; expected 2"),
        ({"offset": 1}, "bytes 1 to 3"),
        ({"offset": -1}, "bytes -1"),
    ],
)
def test_damaged_parts(part, changes, message):
    with pytest.raises(BundleError, match=message):
        unpack(np.zeros(2, np.uint8), part(4, (4,), "uint8") | changes)


def test_a_missing_field(part):
    with pytest.raises(BundleError, match="no field 'scale'"):
        unpack(np.zeros(2, np.uint8), {key: value for key, value in part(4, (4,), "uint8").items() if key != "scale"})


def test_holes_in_a_layout(part):
    parts = [part(4, (4,), "uint8"), part(8, (2,), "uint8", 2)]
    check_layout(parts, 4)
    with pytest.raises(BundleError, match="fill 4 bytes, the bundle says 5"):
        check_layout(parts, 5)
    with pytest.raises(BundleError, match="begins at byte 3; expected 2"):
        check_layout([parts[0], parts[1] | {"offset": 3}], 5)
