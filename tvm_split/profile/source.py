"""Where a plan's layer times come from: data sheets, this machine's clock, or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tvm_split.costs import Costs
from tvm_split.graph import Graph
from tvm_split.profile.roofline import roofline
from tvm_split.targets import TargetSpec, load_target

if TYPE_CHECKING:
    import tvm


def costs_of(
    source: str | tuple[Path, Path], graph: Graph, mod: tvm.IRModule, edge: TargetSpec, cloud: TargetSpec
) -> tuple[Costs, Costs, list[str]]:
    """Costs of both sides and the warnings that belong to them.

    source: "roofline"; "measured" (this machine's times, scaled to each target by the ratio of the rooflines); or the
    costs files of edge and cloud. CostError when a file is no costs file or a layer cannot be timed.
    """
    if source == "roofline":
        return roofline(graph, edge), roofline(graph, cloud), [
            "Times are predicted from the targets' data sheets (roofline), not measured; they may be off by a factor."
        ]  # fmt: skip
    if source == "measured":
        from tvm_split.profile.measured import measure_layers  # imports TVM, which the other sources do without

        here = measure_layers(mod, graph, load_target("host"))
        return _scaled(here, graph, edge), _scaled(here, graph, cloud), [
            "Times were measured on this machine and scaled to each target by its roofline; measure on the board."
        ]  # fmt: skip
    edge_path, cloud_path = source
    return Costs.load(Path(edge_path)), Costs.load(Path(cloud_path)), []


def _scaled(here: Costs, graph: Graph, spec: TargetSpec) -> Costs:
    """This machine's times, each multiplied by the ratio of the two rooflines of its layer."""
    host, other = roofline(graph, load_target("host")), roofline(graph, spec)
    scaled = {name: seconds * other.of(name) / host.of(name) for name, seconds in here.layer_s.items()}
    return Costs(spec.name, "measured on the host, scaled by roofline", scaled, here.provenance)
