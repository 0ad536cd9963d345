"""What is timed: a model as TVM imports it, as layers, and as the file that onnxruntime runs, in float32 or in int8.

For int8 onnxruntime's static quantiser makes a QDQ network of the model, per channel. That network is timed everywhere,
and the float32 network it was made from is kept, to be timed beside it in tvm-split. A model that is quantised already
is timed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvm_split import data, frontend, pipeline, zoo
from tvm_split.errors import ModelError
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph
from tvm_split.passes.bindings import operator
from tvm_split.prepare import model_name
from tvm_split.random_samples import random_batches

if TYPE_CHECKING:
    import tvm

FLOAT32, INT8 = "float32", "int8"
SAMPLES, SEED = 8, 0


@dataclass(frozen=True)
class BenchRequest:
    """What a user asks for. `precision` None: the model's own. `threads` None: every core that this process may use."""

    model: str
    precision: str | None = None
    target: str = "host"
    threads: int | None = None
    repeats: int = 10
    default: bool = True
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    data: Path | None = None
    database: Path | None = None
    winograd: bool = True


@dataclass(frozen=True)
class Network:
    """A module as imported, the same as layers, and the graph of those."""

    imported: tvm.IRModule
    layered: tvm.IRModule
    graph: Graph

    @classmethod
    def of(cls, imported: tvm.IRModule, name: str, winograd: bool) -> Network:
        layered = pipeline.layers(winograd)(imported)
        return cls(imported, layered, extract_graph(layered, name))


@dataclass(frozen=True)
class Loaded:
    """`network` in `precision`, one array for each of its inputs, and the file of it that onnxruntime runs, if it can.

    float32: what `network` was quantised from, None unless that happened here.
    """

    network: Network
    precision: str
    float32: Network | None
    inputs: list[np.ndarray]
    onnx_file: Path | None
    warnings: tuple[str, ...]


def load(request: BenchRequest, folder: Path, progress: Callable[[str], None]) -> Loaded:
    """Read the request's model; files that are made go into `folder`.

    ModelError: no such model, it cannot be imported or quantised, or it is quantised and float32 is asked for.
    DataError: `request.data` does not fit.
    """
    from tvm_split.bench import onnx_models  # imports onnxruntime's quantiser, which takes a second

    name = model_name(request.model)
    progress(f"reading {name}")
    path = zoo.fetch(request.model.removeprefix("zoo:")) if request.model.startswith("zoo:") else Path(request.model)
    network = Network.of(frontend.load(path, shapes=request.shapes), name, request.winograd)
    quantised, is_onnx = is_quantised(network.imported), path.suffix.lower() == ".onnx"
    if quantised and request.precision == FLOAT32:
        raise ModelError(
            f"{path}: the network is quantised already; leave --precision out, or give the file that it was made from"
        )
    samples, names = _samples(request, network.graph), network.graph.inputs
    arrays = [[sample[name] for name in names] for sample in samples]
    onnx_file = onnx_models.with_fixed_shapes(path, request.shapes, folder) if is_onnx else None
    if quantised or request.precision != INT8:
        warnings = () if is_onnx else (f"{path.name} is no .onnx file, so there is no time of onnxruntime's",)
        return Loaded(network, INT8 if quantised else FLOAT32, None, arrays[0], onnx_file, warnings)
    if onnx_file is None:
        raise ModelError(f"{path}: --precision int8 uses onnxruntime's quantiser, which takes .onnx files only")
    random = "No --data was given: int8 ranges come from random inputs; only times mean something"
    progress(f"quantising with onnxruntime on {len(samples)} samples")
    onnx_file = onnx_models.quantized(onnx_file, arrays, folder)
    try:
        made = Network.of(frontend.load(onnx_file), name, request.winograd)
    except ModelError as error:
        raise ModelError(f"{path}: what onnxruntime's quantiser made of it cannot be compiled: {error}") from error
    return Loaded(made, INT8, network, arrays[0], onnx_file, (random,) if request.data is None else ())


def is_quantised(imported: tvm.IRModule) -> bool:
    """Whether the network quantises a tensor on its way. Weights that are merely stored in few bits do not."""
    values = (binding.value for block in imported["main"].body.blocks for binding in block.bindings)
    return any(operator(value) == "relax.quantize" for value in values)


def _samples(request: BenchRequest, graph: Graph) -> list[data.Batch]:
    if request.data is None:
        return random_batches(graph, SAMPLES, SEED)
    return data.load_batches(request.data, graph)[:SAMPLES]
