"""What a compiled layer takes beside the tensors it reads and writes: padded copies, results between its operators.

TVM's own passes are run until a buffer inside a kernel is what the compiled library asks its runtime for:

    pad_temp = TVMBackendAllocWorkspace(4903296);   ...   TVMBackendFreeWorkspace(pad_temp)

Those alive at once are summed; in a parallel loop, once for each core. A buffer that TVM leaves on the stack (constant
size, up to 1 KiB) makes no call and does not count. A layer that is no single kernel (a sort) also takes the storages
that TVM plans between its kernels.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import tvm
import tvm_ffi
from tvm import relax, tirx

from tvm_split import explain, lower
from tvm_split.errors import BuildError, last_line
from tvm_split.graph import Graph
from tvm_split.layer_kernels import MAIN, lower_layers
from tvm_split.passes.share_kernels import equal_kernels
from tvm_split.progress import Progress, quiet

log = logging.getLogger(__name__)

ALLOCATE, FREE, STORAGE = "tirx.TVMBackendAllocWorkspace", "tirx.TVMBackendFreeWorkspace", "relax.vm.alloc_storage"


def with_scratch(mod: tvm.IRModule, graph: Graph, target: tvm.target.Target, progress: Progress = quiet) -> Graph:
    """The graph of a module of layers, each layer with the `scratch_bytes` that it has when compiled for the target.

    BuildError names what TVM cannot lower. About a second for a hundred layers.
    """
    lowered = lower_layers(mod, target, progress=progress)
    for line in explain.lines(graph, lowered.rules(), lowered.reasons):
        log.info(line)
    kernels = workspace_bytes(lowered.library(), target)
    scratch = {name: kernels[program.kernel.symbol] for name, program in lowered.programs.items()}
    for name, alone in lowered.modules.items():
        written = sum(graph.tensor[tensor].size_bytes for tensor in graph.layer[name].outputs)
        scratch[name] = _module_bytes(alone, target, written)
    return replace(graph, layers=tuple(replace(layer, scratch_bytes=scratch[layer.name]) for layer in graph.layers))


def workspace_bytes(mod: tvm.IRModule, target: tvm.target.Target) -> dict[str, int]:
    """Most workspace at once of each kernel of a module, by the kernel's symbol. Kernels that are equal are lowered
    once."""
    kernels = {str(gvar.name_hint): f for gvar, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}
    first = equal_kernels(kernels.items())
    once = {symbol: kernels[symbol].with_attr("global_symbol", symbol) for symbol in first.values()}
    host = _for_host(tvm.IRModule(once), target)
    peaks = {symbol: _peak(host[symbol].body, _cores(target)) for symbol in once}
    return {symbol: peaks[other] for symbol, other in first.items()}


def _for_host(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """What TVM hands to its code generator, as `tvm.tirx.build` makes it for the target's host."""
    pipeline, finalize_host, _ = tirx.get_default_tir_pipeline(target)
    host = target if target.host is None else target.host
    try:
        with target:
            bound = tirx.transform.BindTarget(target.with_host(host))(mod)
            return finalize_host()(pipeline(bound))
    except tvm.error.InternalError as error:
        raise BuildError(f"kernels cannot be lowered for {target}: {last_line(error)}") from error


def _cores(target: tvm.target.Target) -> int:
    return int(target.attrs.get("num-cores", 1))


def _peak(root: object, cores: int) -> int:
    """Most bytes of workspace at once while `root` runs. Workspaces are freed last first."""
    open_bytes: list[int] = []
    peak = 0

    def call(node: tvm.ir.Call) -> None:
        nonlocal peak
        name = str(getattr(node.op, "name", ""))
        if name == ALLOCATE:
            open_bytes.append(int(node.args[2]))
            peak = max(peak, sum(open_bytes))
        elif name == FREE:
            open_bytes.pop()

    def loop(node: tirx.For) -> tvm_ffi.WalkResult:
        nonlocal peak
        if node.kind != tirx.ForKind.PARALLEL:
            return tvm_ffi.WalkResult.ADVANCE
        peak = max(peak, sum(open_bytes) + cores * _peak(node.body, 1))
        return tvm_ffi.WalkResult.SKIP

    tvm_ffi.structural_walk(root, [(tirx.For, loop), (tvm.ir.Call, call)], order="pre")
    return peak


def _module_bytes(alone: tvm.IRModule, target: tvm.target.Target, written: int) -> int:
    """Storages of a layer's module other than the `written` bytes of its results, and its kernels' largest workspace.

    None for a reshape, which makes no storage at all.
    """
    with target, explain.heard():
        lowered = tvm.transform.Sequential(lower.passes(target))(alone)
    storages = storage_bytes(lowered)
    return max(0, sum(storages) - written) + max(workspace_bytes(lowered, target).values(), default=0)


def storage_bytes(lowered: tvm.IRModule) -> list[int]:
    """Bytes of each storage that `main` of a module takes, after all of `lower.passes`."""
    found: list[int] = []

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call) and str(getattr(expr.op, "name", "")) == STORAGE:
            found.append(int(expr.args[0].values[0]))

    relax.analysis.post_order_visit(lowered[MAIN], visit)
    return found
