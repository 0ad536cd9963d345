"""The functions for TVM build scripts: `tvm_split.load`, `.plan`, `.partition`, `.build` and `.run` are these."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import tvm

from tvm_split import pipeline, prepare, workflow
from tvm_split.assemble import compile_plan
from tvm_split.bundle import Bundle
from tvm_split.compile_half import weights_digest
from tvm_split.edge_half import rounded_module, with_precision
from tvm_split.errors import GraphError, PlanError
from tvm_split.extract import graph as extract_graph
from tvm_split.frontend import load
from tvm_split.request import Request
from tvm_split.runtime.local import run_bundle as run
from tvm_split.workflow import PlanResult

__all__ = ["build", "load", "partition", "plan", "run"]


def plan(model: Any, **options: Any) -> PlanResult:
    """Plan a model: a path, 'zoo:NAME' or an IRModule.

    `options` are the fields of `request.Request`, which says what each means: edge, cloud, link, data, shapes,
    preprocess, cut_bits, edge_bits, memory_bytes, pins, tensor_bits, strategy, result_at, costs, metric, max_drop,
    min_agreement, max_error, samples, check, seed, tracker, edge_key, cloud_key and others. `print(plan)` shows the
    table. What the command line would warn of is warned of.

    Raises PlanError, ModelError, TargetError, CostError or DataError; see `workflow.plan`.
    """
    known = [field.name for field in fields(Request) if field.name != "model"]
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise PlanError(f"plan() has no option '{name}'; {hint}the options are {', '.join(known)}")
    result = workflow.plan(Request(model=model, **options))
    for text in result.warnings:
        warnings.warn(text, stacklevel=3)  # 3: the caller's line, behind the callable package `tvm_split.plan`
    return result


def partition(mod: tvm.IRModule, plan: PlanResult) -> tuple[tvm.IRModule, tvm.IRModule]:
    """Cut `mod` where the plan says: the edge module, which ends in the packed payload, and the cloud module.

    `mod` is the network that was planned (`plan.module`), or the same network before the layer passes. The edge's
    `main` returns (payload: uint8[bytes], outputs made there...), the cloud's takes the payload and returns its
    outputs. Where nothing crosses, the payload is missing and the cloud's module is empty. GraphError when the plan is
    for another network.
    """
    if not isinstance(mod, tvm.IRModule) or not isinstance(plan, PlanResult):
        raise GraphError(
            f"partition() takes an IRModule and what plan() returned, not {type(mod).__name__} and "
            f"{type(plan).__name__}"
        )
    layered = prepare.layered(mod, plan.request)
    if _form(layered) != _form(plan.module) or weights_digest(layered) != weights_digest(plan.module):
        raise GraphError(
            f"the plan was made for '{plan.graph.name}' with {len(plan.graph.layers)} layers; this module has other "
            "layers, shapes or weights; pass plan.module, or plan this module"
        )
    candidate = plan.chosen.candidate
    held, sent = plan.quantizers(candidate)
    network = rounded_module(layered, plan.quantised[candidate])
    edge, cloud = pipeline.halves(pipeline.at_cut(candidate.edge_layers, sent, plan.problem.result_at)(network))
    return with_precision(edge, candidate, held), cloud


def _form(mod: tvm.IRModule) -> tuple[Any, ...]:
    """What two modules of layers must share to be one network, weights aside."""
    network = extract_graph(mod)
    return network.tensors, network.outputs, [(layer.name, layer.op, layer.inputs) for layer in network.layers]


def build(plan: PlanResult, out: str | Path, *, force: bool = False) -> Bundle:
    """Compile the plan's halves for its targets into the folder `out`. BundleError, BuildError: see `assemble`."""
    return compile_plan(plan, Path(out), force=force)
