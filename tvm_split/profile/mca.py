"""Seconds of each layer from the machine code that it would have: for planning without the device at hand.

Each layer is lowered and compiled for the target, and llvm-mca gives the cycles of its kernel's hot loop on the
target's core (assembly/mca.py):

    compute = multiply-adds of the layer / those of a turn * cycles of a turn / clock / cores in use
    seconds = max(compute, bytes / bandwidth) + layer overhead                         the last two as the roofline's

So instructions that do not multiply are paid for, and cores that a layer's tasks leave idle. What begins and ends a
loop, caches and lanes that are filled up are not. Layers without multiply-adds, without a kernel of their own or whose
kernel has no such loop keep their roofline.

How far off (FACTORS): as the roofline's docstring has it, on the same core, networks and layers, by llvm-mca 22's model
of Zen 4. Between the two quantiles lie 5 to 95 % of all measured time:

    float32, 216 layers   0.44 to 1.21, median 0.55      the three networks whole: 0.59 to 0.77
    8 bits, 173 layers    0.27 to 1.72, median 0.61      the roofline's: 0.54 to 4.55

That it is too long is the clock, 2.6 GHz on the data sheet and about 3.5 in truth, and for 8 bits the model, which has
vpdpbusd of 512 bits take two cycles: these kernels do more than that. An interval takes in both, and goes twice
as far for every processor but that one: no other was timed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import tvm
import tvm_ffi
from tvm import tirx

from tvm_split.assembly import aarch64, mca, x86_64
from tvm_split.assembly.loops import Loop
from tvm_split.costs import Costs, with_interval
from tvm_split.errors import CostError
from tvm_split.graph import Graph
from tvm_split.layer_kernels import Kernel, LoweredLayers, lower_layers
from tvm_split.profile.multiplications import multiply_adds
from tvm_split.profile.roofline import factors_of, integer_roofline, memory_s, moved_bytes, moved_code_bytes, roofline
from tvm_split.profile.workload import lower_on_integers
from tvm_split.targets import TargetSpec
from tvm_split.tvm_target import resolve

SOURCE = "mca"
#: shares of the predicted time between which 90 % of all measured time lay: "How far off" above
FACTORS = 0.25, 1.75


@dataclass(frozen=True, slots=True)
class Clock:
    """Cycles a second of a core, and where that is from."""

    hz: float
    said: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a kernel's hot loop, and how many cores such turns are made on at once."""

    multiply_adds: int
    cycles: float
    cores: float

    def seconds(self, steps: int, clock: Clock) -> float:
        """Of a layer of so many multiply-adds."""
        return steps / self.multiply_adds * self.cycles / clock.hz / self.cores


def mca_costs(mod: tvm.IRModule, graph: Graph, spec: TargetSpec) -> Costs:
    """Costs of every layer of the module that the graph was taken from, `source` "mca".

    CostError: no llvm-mca here, or the target is simulated or no CPU. BuildError: a layer cannot be lowered.
    """
    core, target = _core(spec)
    steps = multiply_adds(mod)
    turns, left = _turns(lower_layers(mod, target, only=steps), target, core)
    clock = clock_of(spec, core)
    layer_s = dict(roofline(graph, spec).layer_s)
    for name, turn in turns.items():
        moved_s = memory_s(moved_bytes(graph, graph.layer[name]), spec)
        layer_s[name] = max(turn.seconds(steps[name], clock), moved_s) + spec.layer_overhead_s
    return _costs(graph, spec, layer_s, core, clock, turns, left)


def integer_mca_costs(mod: tvm.IRModule, graph: Graph, spec: TargetSpec, floats: Costs) -> Costs | None:
    """The same on 8-bit integers; a layer that multiplies and has no such kernel takes what `floats` says.

    None when the target's file states no rate of 8-bit integers: the roofline of the other layers needs one.
    """
    base = integer_roofline(graph, spec)
    if base is None:
        return None
    core, target = _core(spec)
    steps = multiply_adds(mod, by_definition=True)
    lowered = lower_on_integers(mod, graph, target)
    programs = {name: program for name, program in lowered.programs.items() if name in steps}
    turns, left = _turns(replace(lowered, programs=programs), target, core)
    clock = clock_of(spec, core)
    layer_s = {**base.layer_s, **{name: floats.of(name) for name in steps if name not in programs}}
    for name, turn in turns.items():
        moved_s = memory_s(moved_code_bytes(graph, graph.layer[name]), spec)
        layer_s[name] = max(turn.seconds(steps[name], clock), moved_s) + spec.layer_overhead_s
    return _costs(graph, spec, layer_s, core, clock, turns, left)


def remarks(costs: Costs) -> list[str]:
    """What to say of costs that `mca_costs` made: what stands in for what, which layers are priced otherwise."""
    said, left = costs.provenance, costs.provenance["by_roofline"]
    found = [f"On {costs.target}: {said['stands_in']}."] if said["stands_in"] else []
    if said["clock"].startswith("derived"):
        found.append(f"On {costs.target}: its clock is {said['clock']}.")
    if left:
        name, why = next(iter(left.items()))
        found.append(
            f"On {costs.target}: {len(left)} of {len(left) + len(said['loops'])} layers that multiply take what the "
            f"roofline says, '{name}' because {why}."
        )
    return found


def clock_of(spec: TargetSpec, core: mca.Core) -> Clock:
    """What the target's file states, else what its peak is at the model's own most operations a cycle."""
    if spec.clock_hz is not None:
        return Clock(spec.clock_hz, "clock_hz of the target")
    most = mca.peak_flops_per_cycle(core, spec.vector_bits or 128)
    return Clock(
        spec.peak_flops_per_s / spec.cores / most,
        f"derived: peak_flops_per_s over {spec.cores} cores of {most:.1f} operations a cycle; state clock_hz",
    )


def cores_in_use(function: tvm.ir.BaseFunc, cores: int) -> float:
    """How many cores a kernel keeps busy: as many as its tasks divide into, 1 where it has no parallel loop."""
    tasks = 1

    def loop(node: tirx.For) -> tvm_ffi.WalkResult:
        nonlocal tasks
        if node.kind == tirx.ForKind.PARALLEL:
            tasks = max(tasks, int(node.extent))
        return tvm_ffi.WalkResult.ADVANCE

    tvm_ffi.structural_walk(function.body, [(tirx.For, loop)], order="pre")
    return tasks / math.ceil(tasks / cores)


def _core(spec: TargetSpec) -> tuple[mca.Core, tvm.target.Target]:
    if spec.simulated:
        raise CostError(f"target '{spec.name}' is simulated: nothing compiles for it; use --costs systolic or roofline")
    tool, target = mca.find_tool(), resolve(spec)
    if target.kind.name != "llvm":
        raise CostError(f"target '{spec.name}' is of kind {target.kind.name}, no CPU of LLVM's; use --costs roofline")
    features = [str(feature) for feature in target.attrs.get("mattr", ())]
    return mca.core_of(tool, spec.arch, str(target.attrs.get("mcpu", "")), spec.vector_bits or 128, features), target


def _turns(lowered: LoweredLayers, target: tvm.target.Target, core: mca.Core) -> tuple[dict[str, Turn], dict[str, str]]:
    """The turn of each layer that has one; and why the others have none, by layer. Equal kernels are priced once."""
    known: dict[str, Turn | str] = {}
    turns, left = {}, dict.fromkeys(lowered.modules, "it is no single kernel")
    for name, program in lowered.programs.items():
        kernel = program.kernel
        if kernel.symbol not in known:
            known[kernel.symbol] = _turn(kernel, target, core)
        found = known[kernel.symbol]
        if isinstance(found, Turn):
            turns[name] = found
        else:
            left[name] = found
    return turns, left


def _turn(kernel: Kernel, target: tvm.target.Target, core: mca.Core) -> Turn | str:
    """The kernel's turn, or why there is none."""
    text = str(tvm.compile(tvm.IRModule({kernel.symbol: kernel.function}), target).mod.inspect_source("asm"))
    found = _hot(text, core.arch)
    if found is None:
        return "no loop of its code multiplies vectors"
    loop, products = found
    try:
        spent = mca.cycles(core, loop.body, mca.WIDTHS.get(core.model))
    except CostError as error:
        return str(error)
    return Turn(products, spent, cores_in_use(kernel.function, int(target.attrs.get("num-cores", 1))))


def _hot(text: str, arch: str) -> tuple[Loop, int] | None:
    if arch == "x86_64":
        return x86_64.hot(text)
    found = aarch64.hot(text)
    return None if found is None else (found[0], found[1].multiply_adds)


def _costs(
    graph: Graph, spec: TargetSpec, layer_s: Mapping[str, float], core: mca.Core, clock: Clock,
    turns: Mapping[str, Turn], left: Mapping[str, str],
) -> Costs:  # fmt: skip
    costs = Costs(spec.name, SOURCE, {layer.name: layer_s[layer.name] for layer in graph.layers}, {
        "graph": graph.name, "tool": f"llvm-mca {mca.version_of(core.tool)}", "core": core.model,
        "stands_in": core.stands_in, "clock_hz": clock.hz, "clock": clock.said,
        "memory_bandwidth_bytes_per_s": spec.memory_bandwidth_bytes_per_s, "layer_overhead_s": spec.layer_overhead_s,
        "loops": {name: [turn.multiply_adds, turn.cycles, turn.cores] for name, turn in turns.items()},
        "by_roofline": dict(left),
    })  # fmt: skip
    return with_interval(costs, factors_of(spec, FACTORS))
