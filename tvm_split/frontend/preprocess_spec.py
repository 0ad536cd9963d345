"""What a network wants done to a picture: channel order, scale, mean, deviation and layout."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tvm_split.errors import ModelError

LAYOUTS = ("auto", "NCHW", "NHWC")
CHANNELS = ("rgb", "bgr")
FORMULA = "y = (x * scale - mean) / std"
EXAMPLE = f"""\
# {FORMULA}, for each channel of an RGB byte x
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
scale = 0.00392156862745098  # 1 / 255
channels = "rgb"  # the order that the network reads
layout = "auto"  # the network's: NCHW, NHWC, or as its input's shape says"""


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """y = (x * scale - mean) / std, for each channel of an RGB byte x in 0 .. 255. As a TOML file:

        # y = (x * scale - mean) / std
        mean = [0.485, 0.456, 0.406]      # of each channel, in the order of `channels`
        std = [0.229, 0.224, 0.225]
        scale = 0.00392156862745098       # 1 / 255, so that x * scale is 0 .. 1; or 1
        channels = "rgb"                  # or "bgr": the order in which the network reads them
        layout = "auto"                   # or "NCHW", "NHWC": how the network reads them; may be left out

    `channels` is the order the network reads, and the order of `mean` and `std`: with 'bgr' the frame's channels are
    swapped first. `layout` is the network's: 'auto' takes it from the input's shape. Both in any case, 'BGR', 'nchw'.
    ModelError on any other value.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1.0
    channels: str = "rgb"
    layout: str = "auto"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != 3 or not all(_is_number(v) for v in values):
                raise ModelError(f"preprocessing: {name} is {values!r}; it takes three finite numbers, one a channel")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        if 0 in self.std:
            raise ModelError(f"preprocessing: std is {self.std}; no channel may be divided by 0")
        if not _is_number(self.scale) or self.scale == 0:
            raise ModelError(f"preprocessing: scale is {self.scale!r}; it takes a finite number other than 0")
        for name, allowed in (("channels", CHANNELS), ("layout", LAYOUTS)):
            given = getattr(self, name)
            found = [value for value in allowed if value.lower() == str(given).lower()]
            if not found:
                raise ModelError(
                    f"preprocessing: {name} is {given!r}; it takes {', '.join(allowed)}, as the network reads it"
                )
            object.__setattr__(self, name, found[0])

    @property
    def multiplier(self) -> tuple[float, ...]:
        """Return scale / std: y = x * multiplier - offset is the same as (x * scale - mean) / std."""
        return tuple(self.scale / std for std in self.std)

    @property
    def offset(self) -> tuple[float, ...]:
        """Return mean / std; see `multiplier`."""
        return tuple(mean / std for mean, std in zip(self.mean, self.std, strict=True))

    @classmethod
    def named(cls, name: str | Path) -> PreprocessSpec:
        """Return a built-in by its name, or read the TOML file at the path `name`; ModelError when it is neither."""
        if str(name) in BUILT_IN:
            return BUILT_IN[str(name)]
        path = Path(name)
        if path.suffix != ".toml":
            close = difflib.get_close_matches(str(name), BUILT_IN, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ModelError(
                f"there is no preprocessing {str(name)!r}; {hint}give {', '.join(BUILT_IN)} or the path of a .toml file"
            )
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ModelError(f"{path}: cannot be read as TOML: {error}") from error
        return cls.from_table(table, str(path))

    @classmethod
    def from_table(cls, table: Mapping[str, Any], name: str) -> PreprocessSpec:
        """Return the spec that a TOML table describes: all fields are asked for but `layout`; none may be added."""
        known = [field.name for field in fields(cls)]
        unknown = [key for key in table if key not in known]
        missing = [key for key in known if key not in table and key != "layout"]
        faults = []
        if unknown:
            faults.append(f"unknown: {', '.join(unknown)}")
        if missing:
            faults.append(f"missing: {', '.join(missing)}")
        if faults:
            raise ModelError(
                f"{name}: {'; '.join(faults)}. A file gives {', '.join(known)}, for {FORMULA}, for example:\n{EXAMPLE}"
            )
        try:
            return cls(**table)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


BUILT_IN = {
    # torchvision's ImageNet networks and those trained like them
    "imagenet": PreprocessSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=1 / 255),
    "efficientnet-lite0": PreprocessSpec(mean=(127, 127, 127), std=(128, 128, 128)),
    "plate": PreprocessSpec(mean=(104, 117, 123), std=(1, 1, 1), channels="bgr"),
    "ppocr": PreprocessSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), scale=1 / 255, channels="bgr"),
    "bgr": PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1), channels="bgr"),
}
