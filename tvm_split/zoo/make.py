"""Turn the file that a package ships into the model file of the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from tvm_split.zoo.efficientnet import efficientnet_lite0
from tvm_split.zoo.light import with_random_weights
from tvm_split.zoo.torch_weights import state_dict

RECIPE_VERSION = 3  # raise it when a maker's result changes: cached files of another version are not used

Shapes = Mapping[str, tuple[int, ...]]


def copy(data: bytes, shapes: Shapes, target: Path) -> None:
    """Write the file as it is."""
    target.write_bytes(data)


def fixed_shape(data: bytes, shapes: Shapes, target: Path) -> None:
    """Write the ONNX model with its inputs fixed to `shapes`, so that the file alone says what it takes."""
    from tvm_split.frontend.onnx_shapes import fix_inputs  # its package imports TVM: only where it is needed

    model = onnx.load_from_string(data)
    fix_inputs(model, shapes, target.name)
    onnx.save(model, target)


def efficientnet(data: bytes, shapes: Shapes, target: Path) -> None:
    """Write EfficientNet-Lite0, built from its torch weights."""
    onnx.save(efficientnet_lite0(state_dict(data)), target)


def random_weights(data: bytes, shapes: Shapes, target: Path) -> None:
    """Write one of onnx's light models with seeded random weights in place of its constants."""
    onnx.save(with_random_weights(onnx.load_from_string(data)), target)


MAKERS: dict[str, Callable[[bytes, Shapes, Path], None]] = {
    "copy": copy,
    "fixed_shape": fixed_shape,
    "efficientnet": efficientnet,
    "random_weights": random_weights,
}
