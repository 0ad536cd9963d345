"""Seconds that planners need once the costs are known: on the zoo's networks, and on graphs of 100 to 10,000 layers.

    pytest benchmarks/bench_planning.py --benchmark-json=benchmarks/results/planning.json

Every planner but the exhaustive one. Every network of the zoo has the targets, link and widths that `tvm-split plan`
takes by default, and costs by roofline; extracting its graph is outside the timed part. What a graph works out once and
keeps is inside: each round plans a fresh copy.

A synthetic graph is blocks of one to four branches of one to four layers, half of them with a skip connection; the
edge's and the cloud's times overlap and tensors cost about as much as a layer, so that cuts inside blocks compete. Each
planner runs without a memory limit, and with half the memory that the best cut without a limit takes. `growth` is the
seconds over those of the size before; `exponent` is its power of the layers: 1 is linear, 2 quadratic.

`exact` and `auto-split` also choose bits, at four widths, with a **synthetic** distortion that is only good for timing:
4 to the power of -bits, times the root of the elements and a random factor, and integers at 0.4 of the float seconds.
On each network without limits, with the distortion of 4-bit weights and 8-bit tensors as a limit, and with half the
memory of 8-bit weights besides; tight is a quarter of that memory, and a tenth of that distortion. On each synthetic
graph with the first two. The gap that `exact` states is printed with its seconds: its programmes are counted, so that
it stops. `cpu_s` are the process's own seconds, which say more where others use the machine as well.
"""

from __future__ import annotations

import functools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tvm_split import workflow, zoo
from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.mixed import Bits, evaluate_mixed
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Candidate, Link, Problem
from tvm_split.prepare import prepare
from tvm_split.profile.roofline import roofline
from tvm_split.targets import load_link, load_target

#: TVM imports no LSTM
NETWORKS = [name for name in zoo.names() if name != "plate-rec-lstm"]
NAMES = [name for name in PLANNERS if name != "exhaustive"]
LAYERS = (100, 1_000, 10_000)
ROUNDS, WIDTHS = 5, (2, 4, 8, 16)
WITH_BITS = ("exact", "auto-split")
LIMITS = ("no limits", "distortion", "distortion and memory", "tight distortion and memory", "tight memory")
Seconds = dict[tuple[Any, ...], float]


def block_graph(count: int, seed: int) -> Graph:
    """`count` layers in blocks of parallel branches."""
    draw = random.Random(seed)
    tensors = [Tensor("input", (1, 3, 224, 224), "uint8")]
    layers: list[Layer] = []

    def add(reads: list[str]) -> str:
        name = f"layer{len(layers)}"
        elements = round(40_000 * math.exp(-2 * len(layers) / count) * draw.uniform(0.2, 2.0)) + 1
        tensors.append(Tensor(f"{name}.out", (1, elements), "float32"))
        weight_bytes = draw.randint(1_000, 200_000)
        layers.append(Layer(name, "conv2d", tuple(reads), (f"{name}.out",), draw.randint(10**6, 10**8), weight_bytes))
        return f"{name}.out"

    trunk = add(["input"])
    while len(layers) < count:
        ends = [trunk] if draw.random() < 0.5 else []
        for _ in range(draw.randint(1, 4)):
            end = trunk
            for _ in range(draw.randint(1, 4)):
                end = add([end]) if len(layers) < count - 1 else end
            ends.append(end)
        trunk = add(list(dict.fromkeys(ends)))
    return Graph(f"blocks{count}", tuple(tensors), tuple(layers), ("input",), (trunk,))


@functools.cache
def block_problem(count: int, limited: bool, seed: int = 0) -> Problem:
    """A network of that many layers, a second in all: the edge suits its first half, the cloud its second."""
    if limited:
        problem = block_problem(count, False, seed)
        return replace(problem, memory_bytes=PLANNERS["min-cut"](problem)[0].edge_memory_bytes // 2)
    graph = block_graph(count, seed)
    draw = random.Random(seed + 1)
    edge = {layer.name: draw.uniform(0.5, 1.5) / count for layer in graph.layers}
    cloud = {}
    for i, (name, edge_s) in enumerate(edge.items()):
        cloud[name] = edge_s * (draw.uniform(0.5, 1.9) if 2 * i < count else draw.uniform(0.1, 1.5))
    link = Link("benchmark", up_bytes_per_s=10_000 * count, down_bytes_per_s=10_000 * count, rtt_s=0.01)
    return Problem(graph, Costs("edge", "synthetic", edge), Costs("cloud", "synthetic", cloud), link, cut_bits=(8,))


def with_bits(problem: Problem, seed: int = 0) -> Problem:
    """The problem with a synthetic precision: weights of every layer that has more than some constants."""
    draw, graph = random.Random(seed), problem.graph
    plain = {layer.name: layer.weight_bytes - layer.winograd_bytes for layer in graph.layers}
    elements = {name: size // 4 for name, size in plain.items() if size > 400}
    integer = {name: seconds * 0.4 for name, seconds in problem.edge.layer_s.items()}

    def table(size: int) -> dict[int, float]:
        scale = draw.uniform(0.5, 2.0) * math.sqrt(size)
        return {bits: scale * 4.0**-bits for bits in WIDTHS}

    precision = Precision(
        widths=WIDTHS,
        weight_matrix={name: (1, size) for name, size in elements.items()},
        weight_distortion={name: table(size) for name, size in elements.items()},
        tensor_distortion={tensor.name: table(tensor.elements) for tensor in graph.tensors if tensor.is_float},
        integer=Costs("edge", "synthetic", integer),
    )
    return replace(problem, precision=precision, cut_bits=WIDTHS)


def bounded(problem: Problem, limits: str) -> Problem:
    """A problem with bits, within the limits of that name."""
    assert problem.precision is not None
    names = [layer.name for layer in problem.graph.layers]
    tensors = {tensor.name: 8 for tensor in problem.graph.tensors}
    four, eight = (evaluate_mixed(problem, names, Bits(dict.fromkeys(names, bits), tensors)) for bits in (4, 8))
    return replace(
        problem,
        memory_bytes=eight.edge_memory_bytes // (4 if "tight" in limits else 2) if "memory" in limits else None,
        precision=replace(
            problem.precision,
            max_distortion=four.distortion / (10 if "tight" in limits else 1) if "distortion" in limits else None,
        ),
    )


def plan(benchmark: Any, planner: str, problem: Problem, rounds: int) -> float | None:
    """Time the planner, and keep with the times what it answered; return the gap that it states."""

    def fresh() -> tuple[tuple[Problem], dict[str, Any]]:
        return (replace(problem, graph=replace(problem.graph)),), {}

    cpu_s: list[float] = []

    def timed(asked: Problem) -> tuple[Candidate, ...]:
        start = time.process_time()
        found = PLANNERS[planner](asked)
        cpu_s.append(time.process_time() - start)
        return found

    best = benchmark.pedantic(timed, setup=fresh, rounds=rounds)[0]
    benchmark.extra_info["cpu_s"] = statistics.median(cpu_s)
    benchmark.extra_info["layers"] = len(problem.graph.layers)
    benchmark.extra_info["answer_s"] = best.predicted.total_s
    benchmark.extra_info["edge_layers"] = len(best.edge_layers)
    benchmark.extra_info["gap"] = best.gap
    gap: float | None = best.gap
    return gap


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Problem:
    asked = workflow.Request(model=f"zoo:{request.param}")
    _, graph = prepare(asked)
    edge, cloud = roofline(graph, load_target(asked.edge)), roofline(graph, load_target(asked.cloud))
    return Problem(graph, edge, cloud, load_link(asked.link), cut_bits=asked.cut_bits)


@pytest.fixture(scope="module")
def network_s(tell: Callable[[str], None]) -> Iterator[Seconds]:
    """(network, layers, planner) -> median seconds; those of the slowest planner are printed at the end."""
    found: Seconds = {}
    yield found
    if found:
        tell(f"{'network':<22}{'layers':>8}{'slowest planner':>18}{'seconds':>9}   (at most 1 s)")
    for name, layers in dict.fromkeys(key[:2] for key in found):
        planner, slowest = max(((key[2], s) for key, s in found.items() if key[0] == name), key=lambda item: item[1])
        tell(f"{name:<22}{layers:>8}{planner:>18}{slowest:>9.4f}")


@pytest.fixture(scope="module")
def blocks_s(tell: Callable[[str], None]) -> Iterator[Seconds]:
    """(planner, limited, layers) -> median seconds; the growth is printed at the end."""
    found: Seconds = {}
    yield found
    if found:
        tell(f"{'planner':<26}{'layers':>8}{'seconds':>9}{'growth':>9}{'exponent':>10}   (10,000 layers: at most 10 s)")
    for (planner, limited, layers), seconds in found.items():
        grown = growth(found, planner, limited, layers)
        after = f"{grown['growth']:>8.1f}x{grown['exponent']:>10.2f}" if grown else ""
        tell(f"{planner + ', half memory' * limited:<26}{layers:>8}{seconds:>9.4f}{after}")


def growth(found: Seconds, planner: str, limited: bool, layers: int) -> dict[str, float]:
    """Seconds over those of the size before, and its power of the layers; {} for the smallest size that was run."""
    smaller = [size for name, memory, size in found if (name, memory) == (planner, limited) and size < layers]
    if not smaller:
        return {}
    times = found[planner, limited, layers] / found[planner, limited, max(smaller)]
    return {"growth": times, "exponent": math.log(times) / math.log(layers / max(smaller))}


@pytest.fixture(scope="module")
def bits_s(tell: Callable[[str], None]) -> Iterator[Seconds]:
    """(graph, layers, planner, limits, gap) -> median seconds with bits; printed at the end."""
    found: Seconds = {}
    yield found
    if found:
        tell(f"{'with bits at 4 widths':<22}{'layers':>8}{'planner':>12}  {'limits':<28}{'seconds':>9}{'gap':>9}")
    for (name, layers, planner, limits, gap), seconds in found.items():
        stated = "" if gap is None else f"{gap:>9.1%}"
        tell(f"{name:<22}{layers:>8}{planner:>12}  {limits:<28}{seconds:>9.3f}{stated}")


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("planner", WITH_BITS)
def test_network_with_bits(benchmark: Any, network: Problem, bits_s: Seconds, planner: str, limits: str) -> None:
    """At most 2 s for exact, 1 s for auto-split."""
    benchmark.group = f"{network.graph.name}, bits, {limits}"
    gap = plan(benchmark, planner, bounded(with_bits(network), limits), 3)
    if benchmark.stats:
        layers = len(network.graph.layers)
        bits_s[network.graph.name, layers, planner, limits, gap] = benchmark.stats["median"]


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("limits", LIMITS[:2])
@pytest.mark.parametrize("planner", WITH_BITS)
def test_blocks_with_bits(benchmark: Any, bits_s: Seconds, planner: str, limits: str, layers: int) -> None:
    benchmark.group = f"blocks, bits, {limits}"
    gap = plan(benchmark, planner, bounded(with_bits(block_problem(layers, False)), limits), 1)
    if benchmark.stats:
        bits_s["blocks", layers, planner, limits, gap] = benchmark.stats["median"]


@pytest.mark.parametrize("planner", NAMES)
def test_network(benchmark: Any, network: Problem, network_s: Seconds, planner: str) -> None:
    benchmark.group = network.graph.name
    plan(benchmark, planner, network, ROUNDS)
    if benchmark.stats:
        network_s[network.graph.name, len(network.graph.layers), planner] = benchmark.stats["median"]


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("limited", [False, True], ids=["any-memory", "half-memory"])
@pytest.mark.parametrize("planner", NAMES)
def test_blocks(benchmark: Any, blocks_s: Seconds, planner: str, limited: bool, layers: int) -> None:
    benchmark.group = f"blocks, {'half memory' if limited else 'any memory'}"
    plan(benchmark, planner, block_problem(layers, limited), 3 if layers >= 10_000 else ROUNDS)
    if benchmark.stats:
        blocks_s[planner, limited, layers] = benchmark.stats["median"]
        benchmark.extra_info |= growth(blocks_s, planner, limited, layers)
