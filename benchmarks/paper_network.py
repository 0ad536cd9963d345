"""A network as benchmarks/paper.py asks about it: without its preprocessing, calibrated, on the paper's chips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tvm_split import data, frontend, pipeline, zoo
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated, calibratable
from tvm_split.extract import graph as extract_graph
from tvm_split.frontend.preprocess_spec import PreprocessSpec
from tvm_split.graph import Graph, Layer
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.layer_weights import layer_weights
from tvm_split.passes.preprocess import Preprocess
from tvm_split.plan import baselines
from tvm_split.plan.problem import Link, Problem
from tvm_split.profile.accelerators import accelerator_costs
from tvm_split.targets import load_target

#: bits that are chosen from; those of floats
WIDTHS, REFERENCE = (2, 4, 6, 8), 16
#: bytes of edge memory that the proof of concept takes; half of U8's for other networks
MEMORY = {"resnet50": 4 * 2**20, "googlenet": 8 * 2**20}


@dataclass(frozen=True)
class Network:
    """One network, calibrated; `problem` has its memory limit, and no limit of distortion yet."""

    channels: Mapping[str, int]
    problem: Problem


def link_of(rate: float) -> Link:
    """Without a round trip; `rate` in 2^20 bits a second, up and down."""
    return Link(f"{rate:g} Mbit/s", rate * 2**20 / 8, rate * 2**20 / 8)


def without_preprocessing(graph: Graph) -> Graph:
    """The network reads the raw frame: the paper's input has 8 bits, and no layer before the first may narrow it."""
    frame = {out: graph.inputs[0] for layer in graph.layers if is_preprocessing(layer) for out in layer.outputs}
    layers = (
        replace(layer, inputs=tuple(frame.get(name, name) for name in layer.inputs))
        for layer in graph.layers
        if not is_preprocessing(layer)
    )
    tensors = tuple(tensor for tensor in graph.tensors if tensor.name not in frame)
    return Graph(graph.name, tensors, tuple(layers), graph.inputs, graph.outputs)


def is_preprocessing(layer: Layer) -> bool:
    return layer.name.startswith("preprocess_")


def prepare(name: str, images: str, pictures: int, source: str) -> Network:
    """A network of the zoo, at 1 Mbit/s, calibrated on so many of the pictures; costs of a simulated `source`."""
    spec = PreprocessSpec.named(zoo.entry(name).preprocess or "bgr")  # YOLOX reads the bytes as they are
    mod = pipeline.layers(winograd=False)(Preprocess(spec)(frontend.load(zoo.fetch(name))))
    whole = extract_graph(mod, name)
    graph = without_preprocessing(whole)
    batches = data.load_labelled(images, whole, pictures).batches
    calibrated = Calibrated.of(mod, graph, gather(LayerRunner(mod), calibratable(graph), batches))
    channels = {layer: each.array.shape[each.kernel_layout.index("I")] for layer, each in layer_weights(mod).items()}
    widths = (*WIDTHS, REFERENCE)
    edge, cloud = load_target("eyeriss"), load_target("tpu")
    integer = accelerator_costs(source, mod, graph, edge, 8)
    precision = calibrated.precision(widths, widths, integer, {})
    problem = Problem(
        graph,
        accelerator_costs(source, mod, graph, edge, REFERENCE),
        accelerator_costs(source, mod, graph, cloud, REFERENCE),
        link_of(1),
        cut_bits=widths,
        result_at="cloud",
        precision=precision,
    )
    memory = MEMORY.get(name, baselines.uniform(problem, 8).edge_memory_bytes // 2)
    return Network(channels, replace(problem, memory_bytes=memory))
