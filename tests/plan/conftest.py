"""Random problems small enough to try every cut, and two small graphs with known answers."""

import random
from collections.abc import Callable

import pytest

from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.problem import Link, Problem


@pytest.fixture(scope="session")
def make_graph() -> Callable[[int], Graph]:
    """Seed -> a graph of 1 to 9 layers: branches, skips, several inputs and outputs, tensors with many readers."""
    return _graph


@pytest.fixture(scope="session")
def make_problem() -> Callable[[int], Problem]:
    """Seed -> a problem without memory limit: rtt, downlink, pins, widths and result_at vary."""
    return _problem


@pytest.fixture(scope="session")
def make_chain() -> Callable[..., Problem]:
    return _chain


def _graph(seed: int) -> Graph:
    draw = random.Random(seed)
    inputs = [f"x{i}" for i in range(draw.choice((1, 1, 2)))]
    tensors = [_tensor(draw, name, "uint8") for name in inputs]
    layers: list[Layer] = []
    for i in range(draw.randint(1, 9)):
        known = [tensor.name for tensor in tensors]
        recent = known[-3:] if draw.random() < 0.7 else known
        reads = draw.sample(recent, k=min(len(recent), draw.choice((1, 1, 2, 3))))
        if draw.random() < 0.04:
            reads = []
        makes = [f"t{i}"] + ([f"t{i}b"] if draw.random() < 0.15 else [])
        dtype = draw.choice(("float32", "float32", "float16", "int8"))
        tensors += [_tensor(draw, name, dtype) for name in makes]
        weights, scratch = draw.randint(0, 4000), draw.choice((0, draw.randint(0, 4000)))
        layers.append(Layer(f"l{i}", "op", tuple(reads), tuple(makes), 0, weights, scratch))
    read = {name for layer in layers for name in layer.inputs}
    made = [name for layer in layers for name in layer.outputs]
    outputs = [name for name in made if name not in read and draw.random() < 0.9] or [made[-1]]
    outputs += [name for name in (*inputs, *made) if draw.random() < 0.05]
    return Graph(f"random{seed}", tuple(tensors), tuple(layers), tuple(inputs), tuple(outputs))


def _tensor(draw: random.Random, name: str, dtype: str) -> Tensor:
    return Tensor(name, (draw.choice((0, 1, 3, 17)) if draw.random() < 0.1 else draw.randint(1, 900), 1), dtype)


def _problem(seed: int) -> Problem:
    draw = random.Random(1000 + seed)
    graph = _graph(seed)
    names = [layer.name for layer in graph.layers]
    edge = Costs("edge", "test", {name: draw.randint(0, 1000) * 1e-6 for name in names})
    cloud = Costs("cloud", "test", {name: draw.randint(0, 1000) * draw.choice((1e-7, 1e-6)) for name in names})
    rtt_s = draw.choice((0.0, 0.0, 1e-4, 1e-3))
    while True:
        pins = {name: draw.choice(("edge", "cloud")) for name in names if draw.random() < 0.1}
        problem = Problem(
            graph=graph, edge=edge, cloud=cloud,
            link=Link("link", draw.choice((5e5, 2e6, 2e7)), draw.choice((5e5, 2e7)), rtt_s),
            cut_bits=draw.choice(((8,), (32,), (4, 8), (1, 3, 16))),
            pins=pins if draw.random() < 0.4 else {},
            tensor_bits={graph.tensors[-1].name: 2} if draw.random() < 0.1 else {},
            result_at=draw.choice(("edge", "edge", "cloud")),
        )  # fmt: skip
        try:
            forced_sides(problem)
        except PlanError:
            continue
        return problem


def _chain(sizes: tuple[int, ...] = (100, 80, 10, 40), **fields: object) -> Problem:
    """Layers l1, l2, ... of 1 ms on the edge and 0.1 ms in the cloud; sizes[i] is the uint8 bytes after layer i."""
    tensors = tuple(Tensor(f"t{i}", (size,), "uint8") for i, size in enumerate(sizes))
    layers = tuple(Layer(f"l{i}", "op", (f"t{i - 1}",), (f"t{i}",), 0, 1000 * i) for i in range(1, len(sizes)))
    graph = Graph("chain", tensors, layers, ("t0",), (f"t{len(sizes) - 1}",))
    given = {
        "edge": Costs("edge", "test", {layer.name: 1e-3 for layer in layers}),
        "cloud": Costs("cloud", "test", {layer.name: 1e-4 for layer in layers}),
        "link": Link("link", 1e4, 1e6),
    }
    return Problem(graph=graph, **(given | fields))
