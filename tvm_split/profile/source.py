"""Where a plan's layer times come from: data sheets, simulated accelerators, boards, this machine's clock, or files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_split.costs import SIMULATED, Costs
from tvm_split.errors import PlanError
from tvm_split.graph import Graph
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.profile.roofline import integer_roofline, roofline
from tvm_split.targets import TargetSpec, load_target

if TYPE_CHECKING:
    import tvm

#: seconds to wait for a free board
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Boards:
    """Where layers can be timed: keys of the RPC tracker ("HOST:PORT"). None: no such board."""

    tracker: str | None = None
    edge_key: str | None = None
    cloud_key: str | None = None


def costs_of(
    source: str | tuple[Path, Path], graph: Graph, mod: tvm.IRModule, edge: TargetSpec, cloud: TargetSpec,
    boards: Boards = Boards(),
) -> tuple[Costs, Costs, list[str]]:  # fmt: skip
    """Costs of both sides and the warnings that belong to them.

    source: "roofline"; "measured" (on the board where there is one, otherwise this machine's times, scaled to the
    target by the ratio of the rooflines); "systolic", "scalesim" and "array" on simulated accelerators
    (accelerators.py); or the costs files of edge and cloud. CostError: a file is no costs file, a layer cannot be timed
    or mapped, or a target is no such accelerator. PlanError: boards are named but not asked for. LinkDownError: no
    tracker or board answers.
    """
    keys = (boards.edge_key, boards.cloud_key)
    if any((boards.tracker, *keys)) and source != "measured":
        raise PlanError(f"a tracker or board was given, but the costs are to be '{source}'; add --costs measured")
    if any(keys) != bool(boards.tracker):
        raise PlanError("to time layers on boards, give --tracker HOST:PORT and --edge-key or --cloud-key, or neither")
    if source == "roofline":
        return roofline(graph, edge), roofline(graph, cloud), [
            "Times are predicted from the targets' data sheets (roofline), not measured; they may be off by several "
            "times. Compare them with each other, not with a clock."
        ]  # fmt: skip
    if source in SIMULATED:
        from tvm_split.profile.accelerators import accelerator_costs  # imports TVM

        return accelerator_costs(source, mod, graph, edge), accelerator_costs(source, mod, graph, cloud), [
            f"Times are those of simulated arrays ({source}), which compute 8 bits in a pass: floats of 32 bits take "
            "four times the cycles and the bytes."
        ]  # fmt: skip
    if isinstance(source, tuple):
        edge_path, cloud_path = source
        return Costs.load(Path(edge_path)), Costs.load(Path(cloud_path)), []
    here = None
    found, warnings = [], []
    for side, spec, key in (("edge", edge, boards.edge_key), ("cloud", cloud, boards.cloud_key)):
        if key is not None:
            found.append(_on_board(mod, graph, spec, str(boards.tracker), key))
            continue
        if here is None:
            here = _here(mod, graph)
        found.append(_scaled(here, graph, spec))
        warnings.append(
            f"The {side}'s times were measured on this machine and scaled to {spec.name} by its roofline; to measure "
            f"on the board, give --tracker HOST:PORT --{side}-key KEY."
        )
    return found[0], found[1], warnings


def integer_costs(edge: Costs, mod: tvm.IRModule, graph: Graph, spec: TargetSpec) -> Costs | None:
    """The edge's costs of layers on 8-bit integers: of the target's data sheet or its simulated array; measured ones
    scaled as the data sheet says.

    None where the target states no rate of 8-bit integers.
    """
    if edge.source in SIMULATED and edge.target == spec.name:  # else they are a file's, of another target
        from tvm_split.profile.accelerators import accelerator_costs

        return accelerator_costs(edge.source, mod, graph, spec, INTEGER_BITS)
    integers, floats = integer_roofline(graph, spec), roofline(graph, spec)
    if integers is None or edge.source == "roofline":
        return integers
    scaled = {name: seconds * integers.of(name) / floats.of(name) for name, seconds in edge.layer_s.items()}
    return replace(edge, layer_s=scaled, provenance={**edge.provenance, "integers": "scaled by the roofline"})


def _on_board(mod: tvm.IRModule, graph: Graph, spec: TargetSpec, tracker: str, key: str) -> Costs:
    from tvm_split.profile.measured import measure_layers  # imports TVM, which the other sources do without
    from tvm_split.profile.rpc import connect

    with connect(tracker, key, WAIT_S) as session:
        return measure_layers(mod, graph, spec, remote=session)


def _here(mod: tvm.IRModule, graph: Graph) -> Costs:
    from tvm_split.profile.measured import measure_layers

    return measure_layers(mod, graph, load_target("host"))


def _scaled(here: Costs, graph: Graph, spec: TargetSpec) -> Costs:
    """This machine's times, each multiplied by the ratio of the two rooflines of its layer."""
    host, other = roofline(graph, load_target("host")), roofline(graph, spec)
    scaled = {name: seconds * other.of(name) / host.of(name) for name, seconds in here.layer_s.items()}
    return Costs(spec.name, "measured on the host, scaled by roofline", scaled, here.provenance)
