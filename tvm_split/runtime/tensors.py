"""Arrays of a bundle: checked on the way in, raw row-major little-endian bytes between the halves. No TVM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tvm_split.errors import BundleError
from tvm_split.input_names import keys_of

if TYPE_CHECKING:
    from tvm_split.bundle import Bundle, TensorSpec
    from tvm_split.plan.problem import Link


def dtype_of(spec: TensorSpec) -> np.dtype:
    """NumPy's dtype of a spec, little-endian. BundleError when NumPy has no such dtype."""
    try:
        return np.dtype(spec.dtype).newbyteorder("<")
    except TypeError as error:
        raise BundleError(f"tensor '{spec.name}' has dtype '{spec.dtype}', which NumPy does not know") from error


def size_bytes(specs: Iterable[TensorSpec]) -> int:
    """Bytes of the tensors, one after the other, without padding."""
    return sum(math.prod(spec.shape) * dtype_of(spec).itemsize for spec in specs)


def outputs_named(bundle: Bundle, names: Iterable[str]) -> list[TensorSpec]:
    """Specs of the network outputs with these names. BundleError when the bundle has no such output."""
    specs = {spec.name: spec for spec in bundle.outputs}
    missing = [name for name in names if name not in specs]
    if missing:
        raise BundleError(
            f"{bundle.path}: output '{missing[0]}' is none of the bundle's outputs ({_names(specs)}); compile it again"
        )
    return [specs[name] for name in names]


def link_stages(bundle: Bundle, link: Link) -> tuple[float, float]:
    """Seconds of uplink and downlink that the link's rates give for the bundle's true bytes; 0 where nothing is sent.

    The cloud's outputs come back when the result is wanted at the edge. A codec's bytes are the plan's.
    """
    up, down = bundle.planned_bytes, 0
    if bundle.result_at == "edge":
        down = size_bytes(outputs_named(bundle, bundle.cloud_outputs))
    return link.up_s(up) if up else 0.0, link.down_s(down) if down else 0.0


def check_inputs(bundle: Bundle, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays in the bundle's order, C-contiguous; under the inputs' names or those of the model's file.

    BundleError for a wrong name, shape or dtype: no conversion. DataError for two names of the file for one input.
    """
    wanted = [spec.name for spec in bundle.inputs]
    keys = keys_of(wanted, inputs, "inputs")
    extra = [name for name in inputs if name not in keys.values()]
    if extra:
        raise BundleError(f"input '{extra[0]}' is none of this bundle's inputs; they are {_names(wanted)}")
    missing = [name for name in wanted if name not in keys]
    if missing:
        raise BundleError(f"input '{missing[0]}' is missing; the inputs are {_names(wanted)}, given: {_names(inputs)}")
    return check_arrays([inputs[keys[name]] for name in wanted], bundle.inputs, "input")


def check_arrays(arrays: Sequence[np.ndarray], specs: Sequence[TensorSpec], what: str) -> list[np.ndarray]:
    """The arrays, C-contiguous, when they are what the specs say; BundleError otherwise. `what` begins the message."""
    if len(arrays) != len(specs):
        raise BundleError(
            f"{what}: {len(arrays)} arrays, expected {len(specs)} ({_names(spec.name for spec in specs)})"
        )
    checked = []
    for array, spec in zip(arrays, specs, strict=True):
        if not isinstance(array, np.ndarray):
            raise BundleError(f"{what} '{spec.name}' is a {type(array).__name__}; expected a NumPy array")
        if array.dtype != dtype_of(spec) or array.shape != tuple(spec.shape):
            raise BundleError(
                f"{what} '{spec.name}' is {array.dtype}{list(array.shape)}; expected {spec.dtype}{list(spec.shape)}"
            )
        checked.append(np.ascontiguousarray(array))
    return checked


def to_bytes(arrays: Sequence[np.ndarray]) -> bytes:
    """Row-major little-endian bytes of the arrays, in order."""
    return b"".join(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays)


def from_bytes(data: bytes | bytearray | memoryview, specs: Sequence[TensorSpec]) -> list[np.ndarray]:
    """The inverse of `to_bytes`; arrays of their own memory. BundleError when the length is not the specs' own."""
    if len(data) != size_bytes(specs):
        raise BundleError(
            f"{len(data)} bytes of outputs came back; expected {size_bytes(specs)}: the halves do not match"
        )
    arrays, offset = [], 0
    for spec in specs:
        count, dtype = math.prod(spec.shape), dtype_of(spec)
        array = np.frombuffer(data, dtype, count, offset).reshape(spec.shape)
        arrays.append(array.astype(dtype.newbyteorder("=")))
        offset += count * dtype.itemsize
    return arrays


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
