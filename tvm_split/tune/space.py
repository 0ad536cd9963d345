"""The space that is searched: our own schedule with the factors of its splits left open.

Given:   our schedule's trace:  l7, l8 = split(l5, [None, 7]);  ...;  unroll(l8)
Result:  v0 = sample_categorical([1, 2, 4, 7, 8, 14], p);  l7, l8 = split(l5, [None, v0]);  ...;  unroll(l8)
         and, behind it: v1 = sample_categorical([1, 2, 4, 8], p);  _, l9 = split(innermost reduced loop, [None, v1])

It works on the trace, so it knows no rule. What the trace does not lead to from one of `_starts` is not tuned: a rule
may go on after the last step of its schedule (TransposedConvolution; `whole_tiles`, where a last tile is not full) or
begin again elsewhere (RowSoftmax, Lookup). Nor can TVM search around a DecomposePadding (first convolutions
with padding). Our own factor is the likeliest of each; a factor with which the trace fails is not in the space. Splits
that decide what is summed in which order (those before an rfactor) or which instruction is used (before a tensorize)
stay as they are, so the order of summation is our schedule's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log2, prod

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.dlight.base import ScheduleRule
from tvm.s_tir.schedule import Instruction, InstructionKind, Trace

from tvm_split.passes.schedule import FAILED, RULES, finished, prepared
from tvm_split.passes.schedule.blocks import opened, variables_of
from tvm_split.passes.schedule.packed import inlined

#: how likely our own factor is, and how many others there are at most
OWN, OTHERS = 0.55, 7
#: the longest tile that is tried
LONGEST = 64
UNROLL = (1, 2, 4)
MARK = "tvm_split.mark"
#: instructions after which the factor of a split is more than a size
FIXED = ("RFactor", "Tensorize", "Blockize")


@dataclass(frozen=True)
class Start:
    """Where our schedule of a kernel begins (the kernel as rules are shown it, perhaps of narrower indices or merged
    rows), its trace, which leads from there to what `finished` makes `scheduled` of, the rule's name, the target."""

    module: tvm.IRModule
    trace: Trace
    scheduled: tirx.PrimFunc
    rule: str
    target: tvm.target.Target


@dataclass(frozen=True)
class Space:
    """`trace` with sampling instructions and our own decisions. `size` counts its points, ours among them."""

    trace: Trace
    size: int


def start_of(function: tirx.PrimFunc, target: tvm.target.Target, rules: Iterable[ScheduleRule] = RULES) -> Start | None:
    """Our schedule of an unscheduled kernel; None when no rule knows it, or its trace does not lead there again."""
    function = prepared(function).with_attr("global_symbol", "main")
    for rule in rules:
        try:
            found = rule.apply(function, target, False)
        except FAILED:
            continue
        if found is None:
            continue
        for module in _starts(function):
            again = replay(module, found.trace)
            if again is not None and tvm_ffi.structural_equal(again.mod, found.mod, map_free_vars=True):
                return Start(module, found.trace, finished(found.mod["main"], target), type(rule).__name__, target)
        return None
    return None


def _starts(function: tirx.PrimFunc) -> Iterable[tvm.IRModule]:
    """The modules that a rule's trace may begin at: some begin again with narrower indices, or with merged rows."""
    yield tvm.IRModule({"main": function})
    for begin in (opened, inlined):
        try:
            begun = begin(function)
        except FAILED:
            continue
        if begun is not None:
            yield begun.mod


def replay(module: tvm.IRModule, trace: Trace) -> s_tir.Schedule | None:
    """The schedule that the trace makes of the module; None when a step fails."""
    sch = s_tir.Schedule(module)
    try:
        trace.apply_to_schedule(sch, remove_postproc=False)
    except FAILED:
        return None
    return sch


def space_of(start: Start) -> Space | None:
    """The space around our schedule; None when nothing can be varied."""
    instructions = list(start.trace.insts)
    sites: dict[int, list[int]] = {}
    for i in _sites(instructions):
        own = int(instructions[i].inputs[2])
        order = _vectors(own) if _is_vector(instructions, i) else _factors(own, _extent(start, i))
        others = itertools.islice((factor for factor in order if _works(start, i, factor)), OTHERS)
        sites[i] = [own, *others]
    sites = {i: factors for i, factors in sites.items() if len(factors) > 1}
    sampled = _sampled(instructions, sites)
    sch = replay(start.module, sampled)
    if sch is None:
        return None
    loops = _summed(sch)
    for loop in loops:
        _leave_unrolling_open(sch, loop)
    size = prod(len(factors) for factors in sites.values()) * len(UNROLL) ** len(loops)
    return Space(sch.trace, size) if size > 1 and _is_printable(sch.trace) else None


def _is_printable(trace: Trace) -> bool:
    """Whether MetaSchedule can write the trace to its log, which it does: TVM 0.27 cannot print DecomposePadding."""
    try:
        trace.as_python()
    except TypeError:
        return False
    return True


def _sites(instructions: list[Instruction]) -> list[int]:
    """Splits into two by a number, whose loops are only moved, fused, unrolled, made parallel or vectors."""
    fixed = [rv for inst in instructions if inst.kind.name in FIXED for rv in inst.inputs]
    found = []
    for i, inst in enumerate(instructions):
        if inst.kind.name != "Split" or len(inst.inputs) != 3 or inst.inputs[1] is not None:
            continue
        if isinstance(inst.inputs[2], tirx.IntImm) and not any(_same(rv, out) for rv in fixed for out in inst.outputs):
            found.append(i)
    return found


def _same(a: object, b: object) -> bool:
    return isinstance(a, tvm.runtime.Object) and a.same_as(b)


def _is_vector(instructions: list[Instruction], site: int) -> bool:
    inner = instructions[site].outputs[1]
    return any(inst.kind.name == "Vectorize" and _same(inst.inputs[0], inner) for inst in instructions)


def _extent(start: Start, site: int) -> int:
    """Extent of the loop that is split: it is marked in front of the split, and looked for."""
    before = list(start.trace.insts[:site])
    mark = Instruction(InstructionKind.get("Annotate"), [start.trace.insts[site].inputs[0], 1], [MARK], [])
    sch = replay(start.module, Trace([*before, mark], {}))
    found: list[int] = []

    def look(loop: tirx.For) -> None:
        if MARK in loop.annotations and isinstance(loop.extent, tirx.IntImm):
            found.append(int(loop.extent))

    if sch is not None:
        tvm_ffi.structural_walk(sch.mod["main"].body, (tirx.For, look))
    return found[0] if found else 1


def _vectors(own: int) -> list[int]:
    """Other lengths of vectors."""
    return [n for n in (own * 2, own // 2, own // 4) if 2 <= n <= LONGEST]


def _factors(own: int, extent: int) -> list[int]:
    """Other factors, a quarter to four times our own: those that divide first, then the nearest by ratio."""
    upto = min(LONGEST, extent, 4 * own)
    near = [
        n
        for n in range(max(1, own // 4), upto + 1)
        if extent % n == 0 or n % own == 0 or own % n == 0 or n & (n - 1) == 0
    ]
    return sorted((n for n in near if n != own), key=lambda n: (extent % n != 0, round(abs(log2(n / own)), 6), n))


def _works(start: Start, site: int, factor: int) -> bool:
    """Whether the trace with this one factor leads to another kernel than ours."""
    instructions = list(start.trace.insts)
    instructions[site] = _with_factor(instructions[site], tirx.IntImm("int32", factor))
    sch = replay(start.module, Trace(instructions, {}))
    if sch is None:
        return False
    return not tvm_ffi.structural_equal(finished(sch.mod["main"], start.target), start.scheduled, map_free_vars=True)


def _with_factor(split: Instruction, factor: tvm.ir.Expr) -> Instruction:
    return Instruction(split.kind, [split.inputs[0], None, factor], split.attrs, split.outputs)


def _sampled(instructions: list[Instruction], sites: Mapping[int, list[int]]) -> Trace:
    """The trace with a sampling instruction before each site. The first factor of a site is our own, and decided."""
    kind = InstructionKind.get("SampleCategorical")
    made, decisions = [], {}
    for i, inst in enumerate(instructions):
        if i in sites:
            factors = sites[i]
            drawn = tirx.Var(f"v{i}", "int32")
            odds = [tirx.FloatImm("float64", p) for p in _odds(len(factors))]
            sample = Instruction(kind, [], [factors, odds], [drawn])
            decisions[sample] = 0
            made += [sample, _with_factor(inst, drawn)]
        else:
            made.append(inst)
    return Trace(made, decisions)


def _odds(count: int) -> list[float]:
    return [OWN] + [(1 - OWN) / (count - 1)] * (count - 1)


def _summed(sch: s_tir.Schedule) -> list[s_tir.schedule.LoopRV]:
    """The innermost loop of each sum that is neither unrolled nor a vector, where it walks what is summed."""
    found = []
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        reduced = {
            variable
            for iterator, value in zip(sch.get(block).iter_vars, _values(sch, block), strict=True)
            if iterator.iter_type == tirx.IterVar.CommReduce
            for variable in variables_of(value)
        }
        serial = [loop for loop in sch.get_loops(block) if _is_plain(sch.get(loop))]
        if serial and sch.get(serial[-1]).loop_var in reduced:
            found.append(serial[-1])
    return found


def _values(sch: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> list[tvm.ir.Expr]:
    return list(tvm.get_global_func("s_tir.schedule.GetSBlockRealize")(sch, block).iter_values)


def _is_plain(loop: tirx.For) -> bool:
    return loop.kind == tirx.ForKind.SERIAL and isinstance(loop.extent, tirx.IntImm) and int(loop.extent) > 1


def _leave_unrolling_open(sch: s_tir.Schedule, loop: s_tir.schedule.LoopRV) -> None:
    """Write out as many terms of the sum as is decided, none to begin with. Their order stays."""
    count = sch.sample_categorical(list(UNROLL), _odds(len(UNROLL)), decision=0)
    sch.unroll(sch.split(loop, [None, count])[1])
