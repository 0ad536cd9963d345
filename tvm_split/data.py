"""The user's samples: from .npy, .npz, pictures or a Python function to one dict of arrays for each run, and labels."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_split import pictures, user_function
from tvm_split.data_source import check_source
from tvm_split.errors import DataError
from tvm_split.graph import Graph, Tensor
from tvm_split.input_names import keys_of
from tvm_split.sample_arrays import MOST_CLASSES, as_labels, as_runs

Batch = dict[str, np.ndarray]

#: the array of an .npz that holds labels, unless an input is called so
LABELS = "labels"
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error,
               tokenize.TokenError)  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """Runs of the network, the class of each (int64, None where the source has none), and how many the source has.

    total: None for a function that was not gone through to its end. places: where each label stands, for errors.
    """

    batches: list[Batch]
    labels: np.ndarray | None
    total: int | None
    places: Sequence[str] = ()


def load_batches(source: str | Path | Mapping[str, np.ndarray], graph: Graph, limit: int | None = None) -> list[Batch]:
    """The samples in a source, in order, without labels: see `load_labelled`."""
    return load_labelled(source, graph, limit).batches


def load_labelled(source: str | Path | Mapping[str, np.ndarray], graph: Graph, limit: int | None = None) -> Samples:
    """The samples in a file, a folder, a function or arrays by input name, in order, one dict of input name -> array a
    run; at most `limit` of them, taken evenly from all, so that a folder sorted by class gives every class its share.

    .npz, arrays: one array for each input, under the input's name (`tvm-split layers`) or the model file's own, such
        as serving_default_x:0, and integers `labels`, one a sample, if there are any; others are ignored. An input of
        shape (A, B) takes (A, B), one sample, or (N, A, B); one of shape (1, B) takes (N, B) as well. A network with
        one input also takes `arr_0`.
    .npy: the same, for a network with one input, without labels.
    Pictures: a file; all in a folder and below it, by path, with labels when its folders are classes
        (`pictures.in_folder`); or those of a .csv, with labels (`pictures.in_csv`). For a network whose one input is
        uint8 (1, H, W, 3): turned upright, RGB, scaled (bicubic) until the short side is H / 0.875, and the centre
        H x W cut out.
    module:function: yields arrays (for a network with one input), dicts of arrays by input name, or pairs of such and
        labels, which a dict may hold as `labels`, each of one sample or N as in an .npz. The first `limit` samples: it
        may be endless.

    An array's dtype is converted only where every value of it survives (uint8 to float32, not float64 to float32).
    Files are never unpickled. DataError names the file, array, shape, dtype and what was expected.
    """
    if isinstance(source, Mapping):
        keys = keys_of(graph.inputs, source, "data", graph.file_names)
        missing = [name for name in graph.inputs if name not in keys]
        if missing:
            raise DataError(f"the data has no array for input {_listed(missing)}; it has {_listed(source)}")
        given = {name: source[key] for name, key in _with_labels(keys, source).items()}
        arrays = {
            name: _as_array(each, f"data: the {name} are" if name == LABELS else f"data: input '{name}' is")
            for name, each in given.items()
        }
        return _samples_of(arrays, graph, "data", limit)
    check_source(source)
    if user_function.is_function(str(source)):
        return _from_function(str(source), graph, limit)
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _pictures(*pictures.in_folder(path), graph, path, limit)
    if suffix in pictures.SUFFIXES:
        return _pictures([path], None, graph, path, limit)
    if suffix == ".csv":
        return _pictures(*pictures.in_csv(path), graph, path, limit)
    if suffix == ".npz":
        return _samples_of(_from_npz(path, graph), graph, path, limit)
    array = _from_npy(path)
    return _samples_of({_only_input(graph, f"{path}: a .npy file").name: array}, graph, path, limit)


def _from_npy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as .npy: {error}") from error


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
            keys = keys_of(graph.inputs, found, path, graph.file_names)
            if set(found) - {LABELS} == {"arr_0"} and len(graph.inputs) == 1:
                keys = {graph.inputs[0]: "arr_0"}
            missing = [name for name in graph.inputs if name not in keys]
            keys = _with_labels(keys, found)
            arrays = {} if missing else {name: archive[key] for name, key in keys.items()}
            raw = [keys[name] for name, array in arrays.items() if not isinstance(array, np.ndarray)]
            if raw:
                raise ValueError(f"its member '{raw[0]}' is no .npy array")
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error
    if missing:
        raise DataError(
            f"{path}: no array is named {_listed(missing)}; it has {_listed(found)}. Save one array for each input: "
            f"np.savez(path, **{{{', '.join(f'{name!r}: ...' for name in graph.inputs)}}})"
        )
    return arrays


def _with_labels(keys: Mapping[str, str], given: Iterable[str]) -> dict[str, str]:
    """The names of the inputs' arrays, and the labels' own, if they are given and no input is called so."""
    return {**({LABELS: LABELS} if LABELS in given else {}), **keys}


def _samples_of(arrays: Mapping[str, np.ndarray], graph: Graph, path: Path | str, limit: int | None = None) -> Samples:
    """Samples of arrays by input name, with their labels where there are any beside the inputs."""
    runs = {name: as_runs(arrays[name], graph.tensor[name], path) for name in graph.inputs}
    counts = {name: len(found) for name, found in runs.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DataError(f"{path}: the inputs have different numbers of samples: {listed}; save as many for each")
    if not all(counts.values()):
        raise DataError(f"{path}: there are 0 samples in it; at least 1 is needed")
    total = next(iter(counts.values()))
    labels = None if LABELS in graph.inputs or LABELS not in arrays else as_labels(arrays[LABELS], total, path)
    chosen = _evenly(total, limit)
    batches = [{name: found[i] for name, found in runs.items()} for i in chosen]
    places = [f"{path}: the label of sample {i}" for i in chosen]
    return Samples(batches, None if labels is None else labels[chosen], total, places)


def _evenly(total: int, limit: int | None) -> np.ndarray:
    """Numbers of at most `limit` samples of `total`, in order."""
    count = total if limit is None else min(limit, total)
    return np.arange(count) * total // max(count, 1)


def _as_array(value: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"{what} no array ({error}); give an array of numbers") from None


def _from_function(source: str, graph: Graph, limit: int | None) -> Samples:
    batches: list[Batch] = []
    labels: list[np.ndarray] = []
    items = user_function.items(source)
    total: int | None
    for number, item in enumerate(items):
        arrays, given = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if not isinstance(arrays, Mapping):
            arrays = {_only_input(graph, f"{source}: an array", "yield a dict of arrays by input name").name: arrays}
        if LABELS in arrays and LABELS not in graph.inputs:
            if given is not None:
                raise DataError(f"{source}: batch {number} has labels in its dict and beside it; leave one out")
            given = arrays[LABELS]
        keys = keys_of(graph.inputs, arrays, f"{source}: batch {number}", graph.file_names)
        missing = [name for name in graph.inputs if name not in keys]
        if missing:
            raise DataError(f"{source}: batch {number} has no array for input {_listed(missing)}")
        inputs = {name: _as_array(arrays[key], f"{source}: batch {number} is") for name, key in keys.items()}
        found = _samples_of(inputs, graph, f"{source}: batch {number}").batches
        if number and (given is None) != (not labels):
            raise DataError(f"{source}: batch {number} and those before it: some have labels and some have none")
        batches += found
        if given is not None:
            labels.append(as_labels(given, len(found), f"{source}: batch {number}"))
        if limit is not None and len(batches) >= limit:
            items.close()
            batches, total = batches[:limit], None
            break
    else:
        total = len(batches)
    if not batches:
        raise DataError(f"{source}: the function yields no batch; at least 1 is needed")
    places = [f"{source}: the label of sample {i}" for i in range(len(batches))]
    return Samples(batches, np.concatenate(labels)[: len(batches)] if labels else None, total, places)


def _pictures(
    files: Sequence[Path], labels: Sequence[int] | None, graph: Graph, path: Path, limit: int | None
) -> Samples:
    tensor = _only_input(graph, f"{path}: a picture")
    if tensor.dtype != "uint8" or len(tensor.shape) != 4 or (tensor.shape[0], tensor.shape[3]) != (1, 3):
        raise DataError(
            f"{path}: pictures need an input of uint8 (1, H, W, 3), but '{tensor.name}' is {tensor.dtype} "
            f"{tensor.shape}. Begin the network at the raw picture with --preprocess, or give a .npz"
        )
    chosen = _evenly(len(files), limit)
    places = [f"{path}: the label of {files[i]}" for i in chosen]
    given = None if labels is None else [labels[i] for i in chosen]
    for place, label in zip(places, given or (), strict=False):
        if label > MOST_CLASSES:
            raise DataError(f"{place} is {label}; expected a class's number, 0 to {MOST_CLASSES}")
    found = pictures.read([files[i] for i in chosen], *tensor.shape[1:3])
    batches = [{tensor.name: picture} for picture in found]
    return Samples(batches, None if given is None else np.array(given, np.int64), len(files), places)


def _only_input(graph: Graph, what: str, instead: str = "give a .npz") -> Tensor:
    if len(graph.inputs) != 1:
        raise DataError(f"{what} serves a network with one input; this one has {_listed(graph.inputs)}: {instead}")
    return graph.tensor[graph.inputs[0]]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
