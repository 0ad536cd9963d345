"""Seconds of each layer by running it, on this machine or on a board over RPC.

    costs = measure_layers(mod, graph, load_target("host"))
    costs = measure_layers(mod, graph, load_target("raspberry-pi-4"), remote=session)     # of profile.rpc.connect

A layer is lowered alone, by the passes that lower a half, so that the kernel timed is the kernel that a half runs. All
kernels go into one library and are called directly. A layer that is not one kernel (a sort; a reshape, which moves
nothing in a half) is timed as a module of its own through Relax's virtual machine, whose overhead it then holds.

Weights are the network's; float inputs are uniform over 0 to 1 and integers are 0, a valid index everywhere.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tvm
from tvm import rpc

from tvm_split.costs import Costs
from tvm_split.errors import BundleError, CostError, last_line
from tvm_split.graph import Graph
from tvm_split.layer_kernels import lower_layers
from tvm_split.passes.layering import LAYER, layer_calls
from tvm_split.profile.timing import RAISED, Bench, check_runs, processor, through_vm
from tvm_split.runtime.executor import use_threads
from tvm_split.targets import TargetSpec
from tvm_split.tvm_target import resolve
from tvm_split.versions import versions


def measure_layers(
    mod: tvm.IRModule,
    graph: Graph,
    spec: TargetSpec,
    *,
    remote: rpc.RPCSession | None = None,
    repeats: int = 3,
    date: str | None = None,
) -> Costs:
    """Costs of every layer of `graph`, each the median of `repeats` timings after an uncounted call.

    `mod` is the module of layers that the graph was taken from, `remote` a session on a board of `spec`'s architecture;
    without one this machine is timed. `date` goes into the provenance, by default now in UTC. CostError: repeats below
    1, a target that cannot run here, a layer that `mod` lacks or that fails. BuildError: no linker for it.
    """
    if repeats < 1:
        raise CostError(f"repeats is {repeats}; expected 1 or more")
    check_runs(spec, remote)
    here = {str(callee.attrs[LAYER]) for _, callee in layer_calls(mod)}
    missing = [layer.name for layer in graph.layers if layer.name not in here]
    if missing:
        raise CostError(
            f"layer '{missing[0]}' of graph '{graph.name}' is not in the module ({len(missing)} of {len(graph.layers)} "
            "are not): pass the module that the graph was extracted from"
        )
    target = resolve(spec)
    threads = use_threads() if remote is None else None
    lowered = lower_layers(mod, target)
    device = tvm.cpu() if remote is None else remote.cpu()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="tvm-split-measure-") as folder:
        bench = Bench(Path(folder), spec, target, device, remote, repeats)
        if lowered.programs:
            library = bench.built(lowered.library(), "the layers' kernels")
        for layer in graph.layers:
            if layer.name in lowered.programs:
                kernel = lowered.programs[layer.name].kernel
                seconds[layer.name] = statistics.median(bench.kernel_times(library, kernel, layer.name))
            else:
                alone = lowered.modules[layer.name]
                seconds[layer.name] = statistics.median(bench.module_times(alone, layer.name))
    provenance = {
        "graph": graph.name,
        "machine": processor() if remote is None else f"{spec.name}, over RPC",
        "system": platform.platform() if remote is None else spec.arch,
        "threads": threads if threads is not None else "the RPC server's",
        "compiled_for": str(target),
        "date": date if date is not None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "repeats": repeats,
        "through_vm": len(lowered.modules),
        "versions": versions(),
    }
    return Costs(spec.name, "measured", seconds, provenance)


def measure_half(lib_path: str | Path, inputs: Sequence[np.ndarray], repeats: int = 3) -> list[float]:
    """Seconds of single calls of a compiled half's `main` on this machine, `repeats` of them, after an uncounted one.

    BundleError: no such file, made for another machine, or `main` refuses the inputs. CostError: repeats below 1.
    """
    if repeats < 1:
        raise CostError(f"repeats is {repeats}; expected 1 or more")
    path = Path(lib_path)
    if not path.is_file():
        raise BundleError(f"{path} is no file: expected a half made by `tvm-split compile`")
    use_threads()
    try:
        return through_vm(tvm.runtime.load_module(str(path)), tvm.cpu(), inputs, repeats)
    except RAISED as error:
        shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in inputs)
        raise BundleError(
            f"{path} cannot be timed here on ({shapes}): {last_line(error)}; expected a Relax module compiled for "
            "this machine, and the inputs of its function main"
        ) from error
