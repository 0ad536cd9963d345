"""Errors of outputs in a file, one line each, so that a run that was stopped goes on where it was.

A line is one sample's error of one entry, with a check sum. It is appended by one write, so two runs may share a file,
and a line that a kill cut short is told from a whole one and measured again.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict
from pathlib import Path

from tvm_split.calibration.output_error import OutputError


class Records:
    """What is known, by key; kept in the file `path` as it is put. Without a path, in memory.

    cautions: what to tell the user: lines that are damaged, a file that cannot be read or written. None of these stops
    the work, which only takes longer.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, OutputError] = {}
        self.cautions: list[str] = []
        if path is not None:
            self._read(path)

    def get(self, key: str) -> OutputError | None:
        return self._known.get(key)

    def put(self, key: str, error: OutputError) -> None:
        self._known[key] = error
        if self._path is None:
            return
        body = json.dumps({"key": key, **asdict(error)})
        line = f"{zlib.crc32(body.encode()):08x} {body}\n".encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, line)
            finally:
                os.close(file)
        except OSError as why:
            self.cautions.append(
                f"{self._path}: cannot be written ({why}), so what is measured is not kept; set TVM_SPLIT_CACHE to a "
                "folder with room"
            )
            self._path = None

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as why:
            self.cautions.append(f"{path}: cannot be read ({why}), so all is measured again")
            return
        found = [_parsed(line) for line in content.split(b"\n") if line]
        damaged = found.count(None)
        self._known = dict(record for record in found if record is not None)
        if damaged:
            self.cautions.append(f"{path}: {damaged} of its {len(found)} lines are damaged; these are measured again")
        if content and not content.endswith(b"\n"):
            self._end_line(path)

    def _end_line(self, path: Path) -> None:
        """So that what comes next is not joined to what was cut short."""
        try:
            with path.open("ab") as file:
                file.write(b"\n")
        except OSError:
            pass  # `put` says so


def _parsed(line: bytes) -> tuple[str, OutputError] | None:
    """The record, None of a line that is not whole."""
    check, _, body = line.partition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        fields = json.loads(body)
        key = fields.pop("key")
        squares, norms = tuple(fields.pop("squares")), tuple(fields.pop("norms"))
        return key, OutputError(squares=squares, norms=norms, **fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
