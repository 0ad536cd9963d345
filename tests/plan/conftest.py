"""Random problems small enough to try every cut, and two small graphs with known answers."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tvm_split.costs import Costs
from tvm_split.errors import PlanError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.cuts import forced_sides
from tvm_split.plan.precision import IntegerLayer, Precision
from tvm_split.plan.problem import Link, Problem


@pytest.fixture(scope="session")
def make_graph() -> Callable[[int], Graph]:
    """Seed -> a graph of 1 to 9 layers: branches, skips, several inputs and outputs, tensors with many readers."""
    return _graph


@pytest.fixture(scope="session")
def make_problem() -> Callable[[int], Problem]:
    """Seed -> a problem without memory limit: rtt, downlink, pins, widths and result_at vary, and what packing
    takes."""
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
        return _packing(problem, seed)


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


@pytest.fixture(scope="session")
def make_mixed() -> Callable[..., Problem]:
    """Seed -> a problem with precision: at most 4 layers and two widths, so that every choice of bits can be tried."""
    return _mixed


def _mixed(seed: int, layers: int = 4) -> Problem:
    draw = random.Random(seed)
    tensors = [_feature(draw, "x", draw.choice(("uint8", "float32")))]
    made: list[Layer] = []
    matrix = {}
    for i in range(draw.randint(1, layers)):
        known = [tensor.name for tensor in tensors]
        reads = draw.sample(known[-3:], k=min(len(known[-3:]), draw.choice((1, 1, 2))))
        makes = [f"l{i}"] if draw.random() < 0.9 else [f"l{i}.0", f"l{i}.1"]
        tensors += [_feature(draw, name, draw.choice(("float32",) * 5 + ("int8", "float16"))) for name in makes]
        if draw.random() < 0.7:
            matrix[f"l{i}"] = (draw.randint(1, 4), draw.randint(1, 200))
        rows, columns = matrix.get(f"l{i}", (0, 0))
        weight_bytes = 4 * rows * columns + draw.choice((0, draw.randint(0, 300)))
        scratch = draw.choice((0, 0, draw.randint(0, 800)))
        made.append(Layer(f"l{i}", "op", tuple(reads), tuple(makes), 0, weight_bytes, scratch))
    read = {name for layer in made for name in layer.inputs}
    ends = [name for layer in made for name in layer.outputs if name not in read]
    outputs = ends + [layer.outputs[0] for layer in made if draw.random() < 0.1]
    graph = Graph(f"mixed{seed}", tuple(tensors), tuple(made), ("x",), tuple(dict.fromkeys(outputs)))
    names = [layer.name for layer in made]
    widths = draw.choice(((4, 8), (8, 32), (2, 16), (4, 32), (8, 16)))
    cut_bits = draw.choice((widths, widths, (widths[0],), (1, 8)))
    quantised = [tensor.name for tensor in tensors if tensor.is_float and (tensor.name != "x" or draw.random() < 0.5)]
    precision = Precision(
        widths=widths,
        weight_matrix=matrix,
        weight_distortion={name: _table(draw, widths) for name in matrix},
        tensor_distortion={name: _table(draw, (*widths, *cut_bits)) for name in quantised if draw.random() < 0.9},
        integer=draw.choice((None, Costs("edge", "test", {name: draw.randint(0, 600) * 1e-6 for name in names}))),
        integer_layers=_integer_layers(seed, matrix),
        fixed={name: draw.choice(widths) for name in matrix if draw.random() < 0.1},
    )
    problem = Problem(
        graph=graph,
        edge=Costs("edge", "test", {name: draw.randint(0, 1000) * 1e-6 for name in names}),
        cloud=Costs("cloud", "test", {name: draw.randint(0, 1000) * draw.choice((1e-7, 1e-6)) for name in names}),
        link=Link("link", draw.choice((5e5, 2e6, 2e7)), 2e6, draw.choice((0.0, 1e-4, 1e-3)), 1.5, 1.0),
        cut_bits=cut_bits,
        pins={draw.choice(names): draw.choice(("edge", "cloud"))} if draw.random() < 0.2 else {},
        result_at=draw.choice(("edge", "edge", "cloud")),
        precision=precision,
    )
    return _packing(problem, seed)


def _packing(problem: Problem, seed: int) -> Problem:
    """Half of the problems take time for what is packed and unpacked, some more than for layers and link."""
    draw = random.Random(-1000 - seed)
    edge, cloud = (draw.choice((0.0, 1e-8, 1e-7, 1e-6)) if seed % 2 else 0.0 for _ in range(2))
    return replace(
        problem,
        edge=replace(problem.edge, per_crossing_element_s=edge),
        cloud=replace(problem.cloud, per_crossing_element_s=cloud),
    )


def _integer_layers(seed: int, matrix: dict[str, tuple[int, int]]) -> dict[str, IntegerLayer]:
    draw = random.Random(-1 - seed)
    return {
        name: IntegerLayer(rows * columns + draw.randint(0, 300), draw.randint(0, 100), draw.randint(0, 800))
        for name, (rows, columns) in matrix.items()
        if draw.random() < 0.5
    }


def _feature(draw: random.Random, name: str, dtype: str) -> Tensor:
    shape = (1, draw.randint(1, 8), draw.randint(1, 6), draw.randint(1, 6))
    return Tensor(name, shape if draw.random() < 0.5 else (draw.randint(1, 300),), dtype)


def _table(draw: random.Random, widths: tuple[int, ...]) -> dict[int, float]:
    """Less at more bits, but for some noise."""
    scale = draw.choice((0.0, 1.0, 1.0, 10.0))
    return {bits: scale * draw.uniform(0.5, 1.5) * 2.0**-bits for bits in set(widths) if bits < 32}
