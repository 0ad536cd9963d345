"""Types of options: texts of a user -> values, or a message that says what was expected."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tvm_split.costs import SOURCES

#: of a whole number, at most: Python refuses to read thousands
DIGITS = 9
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Size(click.ParamType[Any]):
    """Bytes: 8MiB, 8MB, 1.5GiB, 65536."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*", value)
        if match is None or match[2].lower() not in UNITS:
            self.fail(
                f"{value!r} is not a size; write bytes, or a unit: 8MiB (2^20), 8MB (10^6), 512KiB, 1GiB", param, ctx
            )
        size = min(float(match[1]) * UNITS[match[2].lower()], 2.0**62)
        if size < 1:
            self.fail(f"{value!r} is less than one byte; leave the option out for no limit", param, ctx)
        return math.floor(size)


class Numbers(click.ParamType[Any]):
    """Numbers with commas between them, each once."""

    name = "numbers"
    example = "0,1"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        if not all(word.isdecimal() and len(word) <= DIGITS for word in words):
            self.fail(
                f"{value!r:.60} is not a list of {self.name}; write numbers with commas, e.g. {self.example}",
                param,
                ctx,
            )
        return tuple(dict.fromkeys(int(word) for word in words))


class Real(click.FloatRange):
    """A finite number within a range; click's own lets NaN through, and infinity where the range has no end."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return found


class Widths(Numbers):
    """Which widths exist, the planner knows."""

    name = "bits"
    example = "2,4,8"


class Cores(Numbers):
    """Which there are, `profile/cores.py` knows."""

    name = "cores"


class Loss(click.ParamType[Any]):
    """What may be lost of a score: 1% or 0.01; more than 1 of a score of the user's own."""

    name = "loss"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)\s*", value)
        if match is None:
            self.fail(f"{value!r} is no loss; write 1% or 0.01, which is one point of a hundred", param, ctx)
        if match[0].strip() == "1":
            self.fail("'1' is either 1% or all there is; write 1%, or 1.0", param, ctx)
        return float(match[1]) / (100 if match[2] else 1)


class Pair(click.ParamType[Any]):
    """NAME=VALUE, split at the last '=': names of nodes may hold anything."""

    def __init__(self, name: str, example: str, convert: Callable[[str], Any]) -> None:
        self.name, self._example, self._convert = name, example, convert

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.rpartition("=")
        try:
            if not (key and equals):
                raise ValueError
            return key, self._convert(text)
        except ValueError:
            self.fail(f"{value!r} is not of the form {self.name}; an example: {self._example}", param, ctx)


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(extent) for extent in text.lower().split("x"))
    if min(shape) < 1:
        raise ValueError
    return shape


def _side(text: str) -> str:
    if text not in ("edge", "cloud"):
        raise ValueError
    return text


class CostsSource(click.ParamType[Any]):
    """One of SOURCES, or the two files of edge and cloud."""

    name = "|".join((*SOURCES, "edge.json,cloud.json"))

    def convert(self, value: Any, param: Any, ctx: Any) -> str | tuple[Path, Path]:
        if value in SOURCES:
            return str(value)
        if isinstance(value, tuple):
            return value
        files = [part.strip() for part in value.split(",")]
        if len(files) != 2 or not all(files):
            self.fail(f"{value!r}: give {', '.join(SOURCES)}, or two files as edge.json,cloud.json", param, ctx)
        for name in files:
            if not _is_file(name):
                self.fail(
                    f"costs file {name!r:.60}: there is no such file; `plan --save-costs FOLDER` writes both",
                    param,
                    ctx,
                )
        return Path(files[0]), Path(files[1])


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


class Address(click.ParamType[Any]):
    """HOST or HOST:PORT; an IPv6 address with a port stands in brackets, [::1]:80."""

    name = "host[:port]"
    _bracketed = re.compile(r"\[([^\[\]\s]+)\](?::([0-9]{1,5}))?")
    _plain = re.compile(r"([^:\[\]\s]+)(?::([0-9]{1,5}))?")
    _ipv6 = re.compile(r"((?:[0-9a-fA-F]*:){2,}[0-9a-fA-F.]*(?:%\w+)?)()")

    def __init__(self, port: int) -> None:
        self._port = port

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        found = (form.fullmatch(value) for form in (self._bracketed, self._plain, self._ipv6))
        match = next(filter(None, found), None)
        port = 0 if match is None else int(match[2] or self._port)
        if match is None or not 0 < port < 65536:
            self.fail(f"{value!r:.80} is no address; write HOST or HOST:PORT, the port from 1 to 65535", param, ctx)
        return match[1], port


SHAPE = Pair("NAME=1x3x224x224", "--shape image=1x3x320x320", _shape)
PIN = Pair("GLOB=edge|cloud", "--pin 'stem*=edge'", _side)
BITS = Pair("GLOB=BITS", "--bits 'block3_*=4'", int)
