"""Where a plan's layer times come from: data sheets, machine code, simulated accelerators, boards, this machine's
clock, or files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_split.costs import SIMULATED, Costs, with_seconds
from tvm_split.errors import PlanError
from tvm_split.graph import Graph
from tvm_split.plan.precision import INTEGER_BITS
from tvm_split.profile.costs_file import costs_in
from tvm_split.profile.file_kinds import is_device_model
from tvm_split.profile.roofline import FACTORS, factors_of, integer_roofline, roofline
from tvm_split.targets import TargetSpec, load_target
from tvm_split.targets.host import HOST

if TYPE_CHECKING:
    import tvm

    from tvm_split.profile.device_model import DeviceModel

#: seconds to wait for a free board
WAIT_S = 60.0
#: the median error of a layer above which a device model says little of which answer is the soonest
UNTRUSTED = 0.3


@dataclass(frozen=True, slots=True)
class Boards:
    """Where layers can be timed: keys of the RPC tracker ("HOST:PORT"). None: no such board."""

    tracker: str | None = None
    edge_key: str | None = None
    cloud_key: str | None = None


def check_boards(source: str | tuple[Path, Path], boards: Boards, finals: int = 0) -> None:
    """PlanError: boards are named but not asked for, by costs or by `finals` to measure; or tracker or keys lack."""
    keys = (boards.edge_key, boards.cloud_key)
    if any((boards.tracker, *keys)) and source != "measured" and not finals:
        raise PlanError(
            f"a tracker or board was given, but the costs are to be '{source}'; add --costs measured, or compile with "
            "--measure"
        )
    if any(keys) != bool(boards.tracker):
        raise PlanError("to time layers on boards, give --tracker HOST:PORT and --edge-key or --cloud-key, or neither")


def costs_of(
    source: str | tuple[Path, Path], graph: Graph, mod: tvm.IRModule, edge: TargetSpec, cloud: TargetSpec,
    boards: Boards = Boards(),
) -> tuple[Costs, Costs, list[str]]:  # fmt: skip
    """Costs of both sides and the warnings that belong to them.

    source: "roofline"; "mca" (the roofline with cycles of each layer's own machine code, by llvm-mca); "measured" (on
    the board where there is one, otherwise this machine's times, scaled to the target by the ratio of the rooflines);
    "systolic", "scalesim" and "array" on simulated accelerators
    (accelerators.py); or the costs files of edge and cloud. CostError: a file is no costs file, or of another network
    or target; a layer cannot be timed or mapped, a target is no such accelerator, or llvm-mca is missing. PlanError:
    boards are named but not asked for. LinkDownError: no tracker or board answers.
    """
    check_boards("measured", boards)
    if source == "roofline":
        return roofline(graph, edge), roofline(graph, cloud), [
            "Times are predicted from the targets' data sheets (roofline), not measured; they may be off by several "
            f"times{_within(FACTORS, edge, cloud)}. Compare them with each other, not with a clock."
        ]  # fmt: skip
    if source == "mca":
        from tvm_split.profile.mca import FACTORS as MCA_FACTORS
        from tvm_split.profile.mca import mca_costs, remarks  # imports TVM, which the roofline does without

        found = [mca_costs(mod, graph, edge), mca_costs(mod, graph, cloud)]
        return found[0], found[1], [
            "Times are predicted from the layers' machine code (cycles by llvm-mca) and the targets' data sheets, not "
            f"measured; they may be off by several times{_within(MCA_FACTORS, edge, cloud)}. Compare them with each "
            "other, not with a clock.",
            *dict.fromkeys(remark for costs in found for remark in remarks(costs)),
        ]  # fmt: skip
    if source in SIMULATED:
        from tvm_split.profile.accelerators import accelerator_costs  # imports TVM

        return accelerator_costs(source, mod, graph, edge), accelerator_costs(source, mod, graph, cloud), [
            f"Times are those of simulated arrays ({source}), which compute 8 bits in a pass: floats of 32 bits take "
            "four times the cycles and the bytes."
        ]  # fmt: skip
    if isinstance(source, tuple):
        edge_path, cloud_path = source
        edge_costs, of_edge = _of_file(Path(edge_path), mod, graph, edge)
        cloud_costs, of_cloud = _of_file(Path(cloud_path), mod, graph, cloud)
        return edge_costs, cloud_costs, list(dict.fromkeys([*of_edge, *of_cloud]))
    here = None
    found, warnings = [], []
    for side, spec, key in (("edge", edge, boards.edge_key), ("cloud", cloud, boards.cloud_key)):
        if key is not None:
            found.append(_on_board(mod, graph, spec, str(boards.tracker), key))
            continue
        if here is None:
            here = _here(mod, graph)
        found.append(_scaled(here, graph, spec))
        if spec.name != HOST:
            warnings.append(
                f"The {side}'s times were measured on this machine and scaled to {spec.name} by its roofline; to "
                f"measure on the board, give --tracker HOST:PORT --{side}-key KEY."
            )
    return found[0], found[1], warnings


def _within(factors: tuple[float, float], edge: TargetSpec, cloud: TargetSpec) -> str:
    """What the intervals of both sides are, in words."""
    said = {spec.name: "{:g} to {:g} times".format(*factors_of(spec, factors)) for spec in (edge, cloud)}
    return f" (most of the true time is {', '.join(f'{times} as long on {name}' for name, times in said.items())})"


def _of_file(path: Path, mod: tvm.IRModule, graph: Graph, spec: TargetSpec) -> tuple[Costs, list[str]]:
    """Costs that a file holds, or that the device model in it predicts, and what to say of how far to trust them."""
    model = model_in(path)
    if model is None:
        return costs_in(path, graph, spec), []
    from tvm_split.profile.predicted import model_costs  # imports TVM, which the other sources do without

    alone, halves = model.errors["layers"], model.errors["halves"]
    whole = "of whole halves it is not known" if halves is None else f"of whole halves by {halves['median']:.0%}"
    assert alone is not None
    warnings = [
        f"Times on {spec.name} are predicted by a model of {model.date[:10]}; on networks held back it was off by "
        f"{alone['median']:.0%} of a layer, {whole} (medians; of nine in ten layers by {alone['p90']:.0%} at most)."
    ]
    if alone["median"] > UNTRUSTED:
        warnings.append(
            f"The model of {spec.name} is too far off to choose by: go on with its profile for longer, or on a device "
            "that does nothing else."
        )
    threads = model.device.get("threads")
    if threads and threads != spec.cores:  # 0 of a board: its RPC server's
        warnings.append(
            f"The model of {spec.name} was timed with --threads {threads}, and {spec.name} has {spec.cores} cores, "
            f"all of which a half uses: profile it anew with --threads {spec.cores}."
        )
    return model_costs(model, mod, graph, spec), warnings


def model_in(path: Path) -> DeviceModel | None:
    """The device model that a file holds; None for any other file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not is_device_model(data):
        return None
    from tvm_split.profile.device_model import DeviceModel  # imports XGBoost

    return DeviceModel.from_json(data, path)


def integer_costs(
    source: str | tuple[Path, Path], edge: Costs, mod: tvm.IRModule, graph: Graph, spec: TargetSpec
) -> Costs | None:
    """The edge's costs of layers on 8-bit integers: of the target's data sheet or its simulated array; measured ones,
    and any of a file, scaled as these say; of the edge's code or model, where `source` (as `costs_of` has it) is "mca"
    or one.

    None where the target states no rate of 8-bit integers.
    """
    if source == "mca":
        from tvm_split.profile.mca import integer_mca_costs

        return integer_mca_costs(mod, graph, spec, edge)
    model = model_in(Path(source[0])) if isinstance(source, tuple) else None
    if model is not None:
        from tvm_split.profile.predicted import integer_model_costs

        return integer_model_costs(model, mod, graph, spec, edge)
    floats: Costs
    integers: Costs | None
    if edge.source in SIMULATED and edge.target == spec.name:  # else they are a file's, of another target
        from tvm_split.profile.accelerators import accelerator_costs

        integers = accelerator_costs(edge.source, mod, graph, spec, INTEGER_BITS)
        if edge.source == source:
            return integers
        floats, by = accelerator_costs(edge.source, mod, graph, spec), "the simulated array"
    else:
        integers = integer_roofline(graph, spec)
        if integers is None or source == "roofline":
            return integers
        floats, by = roofline(graph, spec), "the roofline"
    return _as_integers(edge, floats, integers, by)


def _as_integers(edge: Costs, floats: Costs, integers: Costs, by: str) -> Costs:
    """The edge's times, each by how its integers compare with its floats; a layer that is free stays as it is.

    The quotient of a time that was not edited is 1 exactly, so that its integers are too.
    """
    scaled = {
        name: integers.of(name) * (edge.of(name) / seconds) if seconds else edge.of(name)
        for name, seconds in floats.layer_s.items()
    }
    made = with_seconds(edge, scaled)
    return replace(made, provenance={**made.provenance, "integers": f"scaled by {by}"})


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
