"""What kind of file holds costs, told by its JSON alone: no TVM, no XGBoost."""

from __future__ import annotations

from typing import Any

DEVICE_MODEL = "tvm-split device model"


def is_device_model(data: Any) -> bool:
    """Whether parsed JSON says that it is a device model."""
    return isinstance(data, dict) and data.get("kind") == DEVICE_MODEL
