"""Pictures as a network reads them, and their labels: from folders named after classes, or from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tvm_split.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
#: the part of the resized picture that the centre crop keeps, as in the usual ImageNet evaluation (224 of 256)
CROP = 0.875
_UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError)


def in_folder(folder: Path) -> tuple[list[Path], list[int] | None]:
    """All pictures in the folder and below it, by path, and the class of each.

    The folders right below are the classes when every picture is in one: numbers are the classes themselves, other
    names count from 0 in the order of their code points, as torchvision's ImageFolder does. Else there are no labels.
    DataError when there is no picture.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise DataError(f"{folder}: this folder has no pictures; expected files that end in {', '.join(SUFFIXES)}")
    parts = [file.relative_to(folder).parts for file in files]
    if any(len(each) == 1 for each in parts):
        return files, None
    names = sorted({each[0] for each in parts})
    if all(name.isdecimal() for name in names):
        return files, [int(each[0]) for each in parts]
    number = {name: i for i, name in enumerate(names)}
    return files, [number[each[0]] for each in parts]


def in_csv(path: Path) -> tuple[list[Path], list[int]]:
    """The files and classes of lines `file,label`, in their order; a first line `file,label` is a heading.

    A file's name is relative to the CSV's folder; a label is a whole number from 0, the class's place in the network's
    output. DataError names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if lines and [cell.strip().lower() for cell in lines[0][1]] == ["file", "label"]:
        lines = lines[1:]
    if not lines:
        raise DataError(f"{path}: there is no line in it; expected lines such as pictures/a.jpg,17")
    files, labels = [], []
    for number, row in lines:
        cells = [cell.strip() for cell in row]
        if len(cells) != 2 or not cells[1].isdecimal():
            raise DataError(
                f"{path}, line {number}: {','.join(row)!r:.80} is not file,label; the label is the class's number, "
                "from 0: pictures/a.jpg,17"
            )
        picture = path.parent / cells[0]
        if not picture.is_file():
            raise DataError(f"{path}, line {number}: no file {picture}; names are relative to the CSV's folder")
        files.append(picture)
        labels.append(int(cells[1]))
    return files, labels


def read(files: Sequence[Path], height: int, width: int) -> list[np.ndarray]:
    """Each picture as uint8 (1, height, width, 3). DataError names the one that cannot be read."""
    return [_picture(file, height, width)[np.newaxis] for file in files]


def _picture(file: Path, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3). For an input that is not square, the least scale that leaves both margins."""
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"its mode is {opened.mode}, which has no 8-bit levels; save it as 8-bit RGB")
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except _UNREADABLE as error:
        raise DataError(f"{file}: cannot be read as a picture: {error}") from error
    scale = max(height / picture.height, width / picture.width) / CROP
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)), dtype=np.uint8)
