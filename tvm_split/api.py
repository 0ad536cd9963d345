"""The functions for TVM build scripts. `tvm_split.load`, `.plan`, `.partition` and `.build` are these."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_split import pipeline, workflow
from tvm_split.assemble import compile_plan
from tvm_split.bundle import Bundle
from tvm_split.calibrate import quantizers_for
from tvm_split.errors import GraphError
from tvm_split.extract import graph as extract_graph
from tvm_split.frontend import load
from tvm_split.workflow import PlanResult, Request

if TYPE_CHECKING:
    import tvm

__all__ = ["build", "load", "partition", "plan"]


def plan(model: Any, **options: Any) -> PlanResult:
    """Plan a model: a path, 'zoo:NAME' or an IRModule. `options` are the fields of `workflow.Request`.

    Raises PlanError, ModelError, TargetError, CostError or DataError; see `workflow.plan`.
    """
    return workflow.plan(Request(model=model, **options))


def partition(mod: tvm.IRModule, plan: PlanResult) -> tuple[tvm.IRModule, tvm.IRModule]:
    """Cut `mod` where the plan says: the edge module, which ends in the packed payload, and the cloud module.

    `mod` is the network that was planned (`plan.module`), or the same network before the layer passes. The edge's
    `main` returns (payload: uint8[bytes], outputs made there...), the cloud's takes the payload and returns its
    outputs. Where nothing crosses, the payload is missing and the cloud's module is empty. GraphError when the plan is
    for another network.
    """
    layered = pipeline.layers()(mod)
    if extract_graph(layered, plan.graph.name) != plan.graph:
        raise GraphError(
            f"the plan was made for '{plan.graph.name}' with {len(plan.graph.layers)} layers; this module has other "
            "layers or shapes; pass plan.module, or plan this module"
        )
    candidate = plan.chosen.candidate
    quantizers = quantizers_for(candidate, plan.graph, plan.ranges)
    marked = pipeline.at_cut(candidate.edge_layers, quantizers, plan.problem.result_at)(layered)
    return pipeline.halves(marked)


def build(plan: PlanResult, out: str | Path, *, force: bool = False) -> Bundle:
    """Compile the plan's halves for its targets into the folder `out`. BundleError, BuildError: see `assemble`."""
    return compile_plan(plan, Path(out), force=force)
