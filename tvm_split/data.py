"""The user's samples: from .npy, .npz and picture files to one dict of arrays for each run of the network."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tvm_split.errors import DataError
from tvm_split.graph import Graph, Tensor

Batch = dict[str, np.ndarray]

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
#: the part of the resized picture that the centre crop keeps, as in the usual ImageNet evaluation (224 of 256)
CROP = 0.875
_KINDS = f".npz, .npy, a picture ({', '.join(PICTURES)}) or a folder of pictures"
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error,
               tokenize.TokenError, Image.DecompressionBombError)  # fmt: skip


def load_batches(source: str | Path | Mapping[str, np.ndarray], graph: Graph) -> list[Batch]:
    """The samples in a file, a folder or arrays by input name, in order: one dict of input name -> array for each run.

    .npz: one array for each input, under the input's name; others are ignored. An input of shape (A, B) takes (A, B),
        one sample, or (N, A, B); one of shape (1, B) takes (N, B) as well. A network with one input also takes `arr_0`.
    .npy: the same, for a network with one input.
    Pictures: a file, or all in a folder and below it, by path. For a network whose one input is uint8 (1, H, W, 3):
        turned upright, RGB, scaled (bicubic) until the short side is H / 0.875, and the centre H x W cut out.

    An array's dtype is converted only where every value of it survives (uint8 to float32, not float64 to float32).
    Files are never unpickled. DataError names the file, array, shape, dtype and what was expected.
    """
    if isinstance(source, Mapping):
        missing = [name for name in graph.inputs if name not in source]
        if missing:
            raise DataError(f"the data has no array for input {_listed(missing)}; it has {_listed(source)}")
        return _batches({name: np.asarray(source[name]) for name in graph.inputs}, graph, "data")
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES and file.is_file())
        if not files:
            raise DataError(f"{path}: this folder has no pictures; expected files that end in {', '.join(PICTURES)}")
        return _pictures(files, graph, path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; expected {_KINDS}")
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return _pictures([path], graph, path)
    if suffix == ".npz":
        return _batches(_from_npz(path, graph), graph, path)
    if suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except _UNREADABLE as error:
            raise DataError(f"{path}: cannot be read as .npy: {error}") from error
        return _batches({_only_input(graph, f"{path}: a .npy file").name: array}, graph, path)
    raise DataError(f"{path}: the suffix '{path.suffix}' is not known; expected {_KINDS}")


def check_batch(batch: Mapping[str, np.ndarray], graph: Graph, number: int) -> dict[str, np.ndarray]:
    """The sample's array of each of the network's inputs; DataError when one is missing or of another type."""
    arrays = {}
    for name in graph.inputs:
        tensor = graph.tensor[name]
        if name not in batch:
            raise DataError(f"sample {number} has no array for input '{name}'; it has {_listed(batch)}")
        array = np.asarray(batch[name])
        if array.shape != tensor.shape or str(array.dtype) != tensor.dtype:
            raise DataError(
                f"sample {number}: the array for input '{name}' is {array.dtype} {array.shape}; "
                f"expected {tensor.dtype} {tensor.shape}"
            )
        arrays[name] = array
    return arrays


def _from_npz(path: Path, graph: Graph) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it holds a bare array; name it .npy")
        with loaded as archive:
            found = list(archive.files)
            keys = {name: name for name in graph.inputs}
            if found == ["arr_0"] and len(graph.inputs) == 1:
                keys = {graph.inputs[0]: "arr_0"}
            missing = [name for name in graph.inputs if keys[name] not in found]
            arrays = {} if missing else {name: archive[key] for name, key in keys.items()}
            raw = [keys[name] for name, array in arrays.items() if not isinstance(array, np.ndarray)]
            if raw:
                raise ValueError(f"its member '{raw[0]}' is no .npy array")
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error
    if missing:
        raise DataError(
            f"{path}: no array is named {_listed(missing)}; it has {_listed(found)}. Save one array for each input: "
            f"np.savez(path, **{{{', '.join(f'{name!r}: ...' for name in graph.inputs)}}})"
        )
    return arrays


def _batches(arrays: Mapping[str, np.ndarray], graph: Graph, path: Path | str) -> list[Batch]:
    samples = {name: _samples(array, graph.tensor[name], path) for name, array in arrays.items()}
    counts = {name: len(found) for name, found in samples.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DataError(f"{path}: the inputs have different numbers of samples: {listed}; save as many for each")
    if not all(counts.values()):
        raise DataError(f"{path}: there are 0 samples in it; at least 1 is needed")
    return [dict(zip(samples, values, strict=True)) for values in zip(*samples.values(), strict=True)]


def _samples(array: np.ndarray, tensor: Tensor, path: Path | str) -> np.ndarray:
    """The array as (N, *tensor.shape) in the tensor's dtype."""
    shape, given = tensor.shape, array.shape
    if array.shape == shape:
        array = array[np.newaxis]
    elif shape[:1] == (1,) and array.ndim == len(shape) and array.shape[1:] == shape[1:]:
        array = array[:, np.newaxis]
    elif array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        rest = ", ".join(map(str, shape[1:] if shape[:1] == (1,) else shape))
        raise DataError(
            f"{path}: the array for input '{tensor.name}' has shape {array.shape} and dtype {array.dtype}; "
            f"expected {tensor.dtype} {shape}, or (N, {rest}) for N samples"
        )
    try:
        wanted = np.dtype(tensor.dtype)
        lossless = np.can_cast(array.dtype, wanted, "safe")
    except TypeError:
        raise DataError(f"{path}: NumPy has no dtype '{tensor.dtype}', which input '{tensor.name}' needs") from None
    if not lossless:
        raise DataError(
            f"{path}: the array for input '{tensor.name}', of shape {given}, is {array.dtype}; expected "
            f"{tensor.dtype}, and not every {array.dtype} is one. Convert it: array.astype('{tensor.dtype}')"
        )
    bad = array.size - int(np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
    if bad:
        raise DataError(
            f"{path}: the array for input '{tensor.name}' has {bad} values of {array.size} that are NaN or infinite; "
            "expected finite ones"
        )
    return array.astype(wanted, copy=False)


def _pictures(files: Iterable[Path], graph: Graph, path: Path) -> list[Batch]:
    tensor = _only_input(graph, f"{path}: a picture")
    if tensor.dtype != "uint8" or len(tensor.shape) != 4 or (tensor.shape[0], tensor.shape[3]) != (1, 3):
        raise DataError(
            f"{path}: pictures need an input of uint8 (1, H, W, 3), but '{tensor.name}' is {tensor.dtype} "
            f"{tensor.shape}. Begin the network at the raw picture with --preprocess, or give a .npz"
        )
    _, height, width, _ = tensor.shape
    return [{tensor.name: _picture(file, height, width)[np.newaxis]} for file in files]


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


def _only_input(graph: Graph, what: str) -> Tensor:
    if len(graph.inputs) != 1:
        raise DataError(f"{what} serves a network with one input; this one has {_listed(graph.inputs)}: give a .npz")
    return graph.tensor[graph.inputs[0]]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
