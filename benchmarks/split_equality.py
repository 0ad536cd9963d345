"""Whether a split computes what the whole network computes, bit for bit, and the whole what onnxruntime computes.

python benchmarks/split_equality.py [NETWORK ...] [--cuts 20] [--seed 0] [--seconds S] [--jobs 1] [--json FILE]

Each network of the zoo is imported, made into layers, compiled whole for this machine and compared with onnxruntime on
one random input. Then random legal cuts are drawn: the first layers of a random linear extension of the graph, so any
downward-closed set can come, not only prefixes of one order. Both halves of each cut are compiled by `tvm.compile`
(nothing is cached), without quantisation; the edge's tensors go into the cloud, and every network output must have the
whole network's bytes. Exit status 1 when an output differs, onnxruntime differs by more than 0.001, or anything fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tvm
from tvm import relax

from tvm_split import frontend, lower, pipeline, zoo
from tvm_split.extract import graph as extract_graph
from tvm_split.graph import Graph
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.partition import side_outputs
from tvm_split.runtime.executor import flat_arrays
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

NETWORKS = (
    "alexnet", "vgg19", "googlenet", "resnet50", "efficientnet-lite0", "yolox", "plate-detector", "ppocr-rec", "magika",
    "basic-pitch",
)  # fmt: skip
MAX_RELATIVE_ERROR = 1e-3
#: tried whatever --seconds says
FEWEST_CUTS = 2
PACKAGES = ("tvm-split", "apache-tvm", "apache-tvm-ffi", "onnx", "onnxruntime", "numpy")


@dataclass
class Result:
    """What became of one network. `failures` says in words what differs or what was raised, and at which cut."""

    network: str
    layers: int = 0
    relative_error: float | None = None
    cuts_tried: int = 0
    cuts_equal: int = 0
    edge_layers: list[int] = field(default_factory=list)
    not_prefixes: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def random_cut(graph: Graph, draw: random.Random) -> list[str]:
    """One to all but one of the layers, downward closed, in an order that grew from the network's inputs."""
    count = draw.randint(1, len(graph.layers) - 1)
    waiting = {layer.name: len(graph.predecessors(layer.name)) for layer in graph.layers}
    after: dict[str, list[str]] = {name: [] for name in waiting}
    for name in waiting:
        for before in graph.predecessors(name):
            after[before].append(name)
    ready = [name for name, reads in waiting.items() if reads == 0]
    chosen: list[str] = []
    while len(chosen) < count:
        name = ready.pop(draw.randrange(len(ready)))
        chosen.append(name)
        for reader in after[name]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    return chosen


def random_inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    """Standard normal floats; integers over 0 to 127."""
    generator = np.random.default_rng(seed)
    tensors = [graph.tensor[name] for name in graph.inputs]
    return [
        (generator.standard_normal(t.shape) if t.is_float else generator.integers(0, 128, t.shape)).astype(t.dtype)
        for t in tensors
    ]


def compile_and_run(mod: tvm.IRModule, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of `main`, compiled for this machine and called once."""
    target = resolve(load_target("host"))
    executable = tvm.compile(mod, target, relax_pipeline=lower.pipeline(target))
    vm = relax.VirtualMachine(executable, tvm.cpu())
    return list(flat_arrays(vm["main"](*[tvm.runtime.tensor(array) for array in inputs])))


def relative_error(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest over the outputs of max |a - b| / max |b|. ValueError when number or shapes of outputs differ."""
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        raise ValueError(f"outputs are {[a.shape for a in ours]}, onnxruntime's are {[b.shape for b in theirs]}")
    errors = []
    for a, b in zip(ours, theirs, strict=True):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
        errors.append(float(difference / max(np.abs(b.astype(np.float64)).max(), np.finfo(np.float64).tiny)))
    return float(np.max(errors))  # a NaN stays one


def same_bytes(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


def run_split(mod: tvm.IRModule, edge: list[str], inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The network's outputs by name, computed by both halves of the cut."""
    marked = AssignCut(tuple(edge))(mod)
    crossing, at_edge, at_cloud = side_outputs(marked)
    edge_half, cloud_half = pipeline.halves(marked)
    names = tuple(dict.fromkeys((*crossing, *at_edge)))
    made = dict(zip(names, compile_and_run(edge_half, inputs), strict=True))
    cloud = compile_and_run(cloud_half, [made[name] for name in crossing])
    return {name: made[name] for name in at_edge} | dict(zip(at_cloud, cloud, strict=True))


def check(network: str, cuts: int, seed: int, seconds: float) -> Result:
    """Import one network, compare it with onnxruntime, then try cuts until there are `cuts` or time is up."""
    result, begin = Result(network), time.monotonic()
    doing = "importing it"
    try:
        path = zoo.fetch(network)
        mod = pipeline.layers()(frontend.load(path))
        graph = extract_graph(mod, network)
        result.layers = len(graph.layers)
        inputs = random_inputs(graph, seed)
        doing = "running it in onnxruntime"
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        fed = [item.name for item in session.get_inputs()]
        theirs = session.run(None, dict(zip(fed, inputs, strict=True)))
        del session
        doing = "compiling and running it whole"
        whole = compile_and_run(mod, inputs)
        result.relative_error = relative_error(whole, theirs)
        if not result.relative_error <= MAX_RELATIVE_ERROR:
            result.failures.append(f"differs from onnxruntime by {result.relative_error:.2g}")
        expected = dict(zip(graph.outputs, whole, strict=True))
        draw = random.Random(f"{network}:{seed}")
        order = [layer.name for layer in graph.layers]
        for number in range(cuts):
            if number >= FEWEST_CUTS and time.monotonic() - begin > seconds:
                break
            edge = random_cut(graph, draw)
            doing = f"cut {number} with {len(edge)} layers on the edge, the last {edge[-1]}"
            result.cuts_tried += 1
            result.edge_layers.append(len(edge))
            result.not_prefixes += set(edge) != set(order[: len(edge)])
            found = run_split(mod, edge, inputs)
            differing = [name for name, array in expected.items() if not same_bytes(found[name], array)]
            result.cuts_equal += not differing
            if differing:
                result.failures.append(f"{doing}: {', '.join(differing)} differ from the whole network's")
            gc.collect()
    except Exception as error:  # one network's failure must not hide the others' results
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        result.failures.append(f"{doing}: {type(error).__name__}: {lines[0] if len(lines) == 1 else lines[-1]}")
    result.seconds = round(time.monotonic() - begin, 1)
    return result


def row(result: Result) -> str:
    error = "-" if result.relative_error is None else f"{result.relative_error:.1e}"
    return (
        f"{result.network:20}{result.layers:>8}{error:>24}{result.cuts_tried:>8}{result.not_prefixes:>14}"
        f"{result.cuts_equal:>8}{result.seconds:>9.0f}"
    )


HEADER = (
    f"{'network':20}{'layers':>8}{'max relative error':>24}{'cuts':>8}{'not prefixes':>14}{'equal':>8}{'seconds':>9}"
)


def machine() -> dict[str, Any]:
    found = [x.split(":", 1)[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return {
        "processor": found[0] if found else platform.processor(), "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(), "python": platform.python_version(),
        "threads": os.environ.get("TVM_NUM_THREADS", "TVM's default"),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"zoo names; all of {', '.join(NETWORKS)} by default")
    parser.add_argument("--cuts", type=int, default=20, help="cuts of each network")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs and of the cuts")
    parser.add_argument(
        "--seconds",
        type=float,
        default=float("inf"),
        help="begin no third or later cut after so long",
    )
    parser.add_argument("--jobs", type=int, default=1, help="networks worked on at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    asked = parser.parse_args()
    unknown = [name for name in asked.networks if name not in zoo.names()]
    if unknown:
        parser.error(f"the zoo has no network {', '.join(unknown)}; it has {', '.join(zoo.names())}")
    if asked.cuts < 0 or asked.jobs < 1:
        parser.error(f"--cuts is {asked.cuts} and --jobs {asked.jobs}; expected 0 or more, and 1 or more")
    networks = asked.networks or list(NETWORKS)
    print(HEADER)
    results: dict[str, Result] = {}
    context = multiprocessing.get_context("spawn")  # TVM's threads do not survive a fork
    # a process a network, so that the memory of a large one goes back
    with ProcessPoolExecutor(asked.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(check, name, asked.cuts, asked.seed, asked.seconds): name for name in networks}
        for done in as_completed(waiting):
            name = waiting[done]
            error = done.exception()
            results[name] = done.result() if error is None else Result(name, failures=[f"the process died: {error}"])
            print(row(results[name]), flush=True)
            if asked.json:
                write(asked, [results[n] for n in networks if n in results])
    failures = [f"{name}: {text}" for name in networks for text in results[name].failures]
    print("\n".join(failures) or "all outputs of all cuts are equal, bit for bit")
    return 1 if failures else 0


def write(asked: argparse.Namespace, results: list[Result]) -> None:
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "benchmark": "split_equality", "command": "python benchmarks/split_equality.py " + " ".join(sys.argv[1:]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES}, "seed": asked.seed, "cuts_asked": asked.cuts,
        "tolerance": MAX_RELATIVE_ERROR, "networks": [asdict(result) for result in results],
    }  # fmt: skip
    asked.json.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
