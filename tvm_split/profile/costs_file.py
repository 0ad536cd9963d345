"""A costs file, as `tvm-split plan --save-costs` writes it: is it of this network and this target? No TVM."""

from __future__ import annotations

from pathlib import Path

from tvm_split.costs import Costs
from tvm_split.errors import CostError, TargetError
from tvm_split.graph import Graph
from tvm_split.targets import TargetSpec, load_target


def costs_in(path: Path, graph: Graph, spec: TargetSpec) -> Costs:
    """The costs in a file. CostError: it is none, lacks a layer of the graph or has another, or is of another target.

    The graph's name is not compared: a model file may be renamed.
    """
    costs = Costs.load(path)
    if not _is_of(costs.target, spec):
        raise CostError(
            f"{path} holds costs of target '{costs.target}', but they are wanted of '{spec.name}'; give the file of "
            "the edge first and that of the cloud second (--costs EDGE.json,CLOUD.json), or plan for its target "
            f"(--edge or --cloud {costs.target})"
        )
    missing = [layer.name for layer in graph.layers if layer.name not in costs.layer_s]
    unknown = [name for name in costs.layer_s if name not in graph.layer]
    if missing or unknown:
        told = (
            [f"it has no cost of layer '{missing[0]}' ({len(missing)} of {len(graph.layers)} lack)"] if missing else []
        )
        told += [f"its layer '{unknown[0]}' is none of these ({len(unknown)} such)"] if unknown else []
        raise CostError(
            f"{path} holds costs of another network{_made_for(costs, graph)} than '{graph.name}': "
            f"{' and '.join(told)}; save them anew with `plan --save-costs`, with this model and the same options"
        )
    return costs


def _made_for(costs: Costs, graph: Graph) -> str:
    made_for = costs.provenance.get("graph")
    if made_for == graph.name:
        return " (of that name, or with other options)"
    return f" ('{made_for}')" if isinstance(made_for, str) else ""


def _is_of(name: str, spec: TargetSpec) -> bool:
    """Whether a name in a file is the target's: its own, or that of a TOML file which describes it."""
    if name == spec.name:
        return True
    try:
        return load_target(name).name == spec.name
    except (TargetError, OSError):
        return False
