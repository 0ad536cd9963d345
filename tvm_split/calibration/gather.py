"""One run of the float network over the user's samples -> Statistics of each tensor."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from tvm_split.calibration.statistics import Statistics
from tvm_split.data import check_batch
from tvm_split.errors import DataError, ModelError
from tvm_split.graph import Graph
from tvm_split.layer_runner import LayerRunner

NO_AXES: Mapping[str, int] = MappingProxyType({})


def gather(
    runner: LayerRunner,
    tensors: Iterable[str],
    batches: Iterable[Mapping[str, np.ndarray]],
    channel_axes: Mapping[str, int] = NO_AXES,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Statistics]:
    """Statistics of each named tensor of the runner's network over all batches, in the order of the names.

    A batch is one run: input name -> array of the input's shape and dtype. `batches` is gone through once and may be a
    generator; one run's tensors are in memory at a time. Tensors in `channel_axes` get the mean of each channel along
    that axis. `progress` is told how many runs are done, after each. Run over further batches and join with `merged`
    to go on where an earlier run stopped.

    DataError: no batches, or one that does not fit the inputs. ModelError: an unknown or empty tensor, or one with a
    value that is not finite, named with its batch.
    """
    names = check_tensors(tensors, runner.graph)
    found: dict[str, Statistics] = {}
    number = -1
    for number, batch in enumerate(batches):
        for name, array in runner.run(check_batch(batch, runner.graph, number), names).items():
            try:
                one = Statistics.of(array, channel_axes.get(name))
            except ValueError as error:
                raise ModelError(
                    f"tensor '{name}' has {error} on batch {number}; expected finite ones. "
                    "Check that batch, the preprocessing and the weights"
                ) from None
            found[name] = found[name].merge(one) if name in found else one
        if progress is not None:
            progress(number + 1)
    if number < 0:
        raise DataError("there are no batches to calibrate on; at least 1 is needed, and 16 or more are better")
    return {name: found[name] for name in names}


def merged(one: Mapping[str, Statistics], other: Mapping[str, Statistics]) -> dict[str, Statistics]:
    """Statistics over the samples of both. ValueError when they are of different tensors."""
    if set(one) != set(other):
        raise ValueError(f"only one of both has statistics of {sorted(set(one) ^ set(other))[:3]}")
    return {name: statistics.merge(other[name]) for name, statistics in one.items()}


def check_tensors(tensors: Iterable[str], graph: Graph) -> tuple[str, ...]:
    """The names, each once. ModelError for a tensor that the network lacks, or that has no elements."""
    names = tuple(dict.fromkeys(tensors))
    for name in names:
        if name not in graph.tensor:
            close = difflib.get_close_matches(name, graph.tensor, n=3) or list(graph.tensor)[:3]
            raise ModelError(f"the network has no tensor '{name}'; there are {', '.join(close)} and others")
        if graph.tensor[name].elements == 0:
            raise ModelError(f"tensor '{name}' has shape {graph.tensor[name].shape}, so no elements and no range")
    return names
