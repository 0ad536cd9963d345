"""How a planner's time grows with the network: seconds on synthetic block graphs of 100 to 10,000 layers.

python benchmarks/planning.py [--layers 100 300 ...] [--repeat 3] [--json results/planning.json]

Each block splits in one to four branches of one to four layers and joins them, half of them with a skip connection; the
edge's and the cloud's times overlap and tensors cost about as much as a layer, so that cuts inside blocks compete. Each
planner runs without a memory limit, and with half the memory that the best cut without a limit takes. `growth` is the
seconds over those of the size before; `exponent` is its power of the layers: 1.0 is linear, 2.0 quadratic.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan import PLANNERS
from tvm_split.plan.problem import Candidate, Link, Problem


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


def block_problem(count: int, seed: int = 0) -> Problem:
    """A network of that many layers, a second in all: the edge suits its first half, the cloud its second."""
    graph = block_graph(count, seed)
    draw = random.Random(seed + 1)
    edge = {layer.name: draw.uniform(0.5, 1.5) / count for layer in graph.layers}
    cloud = {}
    for i, (name, edge_s) in enumerate(edge.items()):
        cloud[name] = edge_s * (draw.uniform(0.5, 1.9) if 2 * i < count else draw.uniform(0.1, 1.5))
    link = Link("benchmark", up_bytes_per_s=10_000 * count, down_bytes_per_s=10_000 * count, rtt_s=0.01)
    return Problem(graph, Costs("edge", "synthetic", edge), Costs("cloud", "synthetic", cloud), link, cut_bits=(8,))


def timed(name: str, problem: Problem, repeat: int) -> tuple[float, Candidate]:
    """Seconds, the least of `repeat` runs, and the best answer."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        best = PLANNERS[name](problem)[0]
        times.append(time.perf_counter() - start)
    return min(times), best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[100, 300, 1_000, 3_000, 10_000])
    parser.add_argument("--planners", nargs="+", default=["auto-split", "min-cut", "neurosurgeon", "qdmp"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures with machine and versions")
    given = parser.parse_args()
    rows = []
    print(f"{'planner':<26}{'layers':>8}{'seconds':>9}{'growth':>8}{'exponent':>10}{'answer_s':>10}{'edge layers':>13}")
    for name in given.planners:
        for limited in (False, True):
            before = None
            for count in given.layers:
                problem = block_problem(count)
                if limited:
                    best = PLANNERS["min-cut"](problem)[0]
                    problem = replace(problem, memory_bytes=best.edge_memory_bytes // 2)
                took, best = timed(name, problem, given.repeat)
                row = {"planner": name, "memory_limit": limited, "layers": count, "seconds": took}
                row |= {"answer_s": best.predicted.total_s, "edge_layers": len(best.edge_layers)}
                growth = exponent = ""
                if before:
                    row["growth"] = took / before[1]
                    row["exponent"] = math.log(row["growth"]) / math.log(count / before[0])
                    growth, exponent = f"{row['growth']:.1f}x", f"{row['exponent']:.2f}"
                label = f"{name}, half memory" if limited else name
                answer = f"{best.predicted.total_s:>10.5f}{len(best.edge_layers):>13}"
                print(f"{label:<26}{count:>8}{took:>9.3f}{growth:>8}{exponent:>10}{answer}", flush=True)
                rows.append(row)
                before = count, took
    if given.json:
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": sys.version.split()[0]}
        versions = {"networkx": version("networkx"), "tvm-split": version("tvm-split")}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"version": 1, **machine, "versions": versions, "repeat": given.repeat, "rows": rows}
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
