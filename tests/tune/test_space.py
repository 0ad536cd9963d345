"""The space around our schedules: our own point, other points, and equal results at all of them."""

import itertools
import json
from unittest.mock import Mock

import pytest
import tvm
import tvm_ffi
from tvm import s_tir, te, tirx
from tvm.s_tir.dlight.base import ScheduleRule
from tvm.s_tir.schedule import Trace

from tvm_split import frontend, pipeline
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule import FAILED, RULE, RULES, SCHEDULED, finished, schedule
from tvm_split.passes.schedule.rounding import NEAREST
from tvm_split.tune import measuring
from tvm_split.tune.apply import by_trace, kernel_key
from tvm_split.tune.compare import compare
from tvm_split.tune.kernels import kernels_of
from tvm_split.tune.measuring import Place
from tvm_split.tune.space import UNROLL, replay, space_of, start_of


def points(start, space, count):
    """Up to `count` kernels at random points of the space."""
    found = []
    for seed in range(1, 8 * count):
        sch = s_tir.Schedule(start.module, seed=seed)
        try:
            Trace(list(space.trace.insts), {}).apply_to_schedule(sch, remove_postproc=False)
        except FAILED:
            continue
        found.append(finished(sch.mod["main"], start.target))
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("rule", ["Packed", "Depthwise"])
def test_begins_at_our_schedule(kernels, target, rule):
    (start,) = (start for start in (start_of(kernel.function, target) for kernel in kernels) if start.rule == rule)
    space = space_of(start)
    assert space.size > 4
    factors = [i for i in space.trace.insts if i.kind.name == "SampleCategorical"]
    assert factors and all(space.trace.get_decision(inst) == 0 for inst in factors)
    ours = replay(start.module, Trace(before_unrolling(start, space), dict(space.trace.decisions)))
    assert tvm_ffi.structural_equal(finished(ours.mod["main"], target), start.scheduled, map_free_vars=True)
    assert UNROLL[0] == 1 and replay(start.module, space.trace) is not None  # what comes behind it writes out one term


def before_unrolling(start, space):
    """Our own steps, and the samples before them."""
    own = itertools.accumulate(inst.kind.name != "SampleCategorical" for inst in space.trace.insts)
    return [i for i, count in zip(space.trace.insts, own, strict=True) if count <= len(start.trace.insts)]


def rounded():
    """A kernel that ends in codes of 8 bits."""
    x = te.placeholder(int64(4096), "float32", "x")

    def codes(i):
        value = te.nearbyint(x[i] * tirx.const(0.5, "float32")) + tirx.const(3.0, "float32")
        return te.max(te.min(value, tirx.const(255.0, "float32")), tirx.const(0.0, "float32")).astype("uint8")

    return te.create_prim_func([x, te.compute(x.shape, codes, "codes")])


def test_what_compiles_is_what_is_measured_and_applied(kernels, target, tmp_path, monkeypatch):
    """Schedules are finished alike, by the rules, where tuning starts, in its trials, and where they are applied."""
    for function in (rounded(), *(kernel.function for kernel in kernels)):
        start = start_of(function, target)
        compiled = schedule("layer", function, target, RULES).without_attr(SCHEDULED).without_attr(RULE)
        assert kernel_key(start.scheduled) == kernel_key(compiled)
        replayed = by_trace(start, json.loads(json.dumps(start.trace.as_json(), default=lambda each: each.value)))
        assert kernel_key(replayed) == kernel_key(compiled)
        built = []
        monkeypatch.setattr(measuring.tvm, "compile", lambda module, _target, to=built: to.append(module) or Mock())
        measuring._build(replay(start.module, start.trace).mod, target, "x86_64", str(tmp_path))
        assert kernel_key(built[0]["main"]) == kernel_key(compiled)
    assert NEAREST in start_of(rounded(), target).scheduled.script()


def test_indices_that_a_rule_narrows_are_no_hindrance(kernels, target):
    """Depthwise begins again with indices of 32 bits, where its trace begins."""
    (start,) = (start for start in (start_of(each.function, target) for each in kernels) if start.rule == "Depthwise")
    assert "T.int64" not in start.module["main"].script()


def test_what_metaschedule_cannot_print_has_no_space(stem, target):
    (kernel,) = kernels_of(pipeline.layers()(frontend.load(stem)), target)
    start = start_of(kernel.function, target)
    assert any(inst.kind.name == "DecomposePadding" for inst in start.trace.insts)
    assert space_of(start) is None


class Later(ScheduleRule):
    """Goes on after its trace."""

    def apply(self, func, target, tunable):
        return s_tir.Schedule(func.with_attr("more", 1))


def test_a_schedule_that_its_trace_does_not_lead_to_is_not_tuned(target):
    assert start_of(rounded(), target, (Later(), *RULES)) is None


def test_every_point_gives_our_bits(kernels, target, tmp_path):
    """Bit for bit: the order of summation is not in the space."""
    for kernel in kernels:
        start = start_of(kernel.function, target)
        space = space_of(start)
        others = points(start, space, 6)
        assert len(others) >= 3
        assert any(not tvm_ffi.structural_equal(other, start.scheduled, map_free_vars=True) for other in others)
        place = Place(target, "x86_64", tmp_path)
        measured = compare([start.scheduled, *others], kernel.reads, kernel.writes, place, rounds=1)
        assert all(each.equal for each in measured)


def test_a_kernel_without_a_split_has_no_space(target):
    from tvm.script import tirx as T

    @T.prim_func(private=True, s_tir=True)
    def copy(a: T.handle, b: T.handle):
        x = T.match_buffer(a, (T.int64(4),), "float32")
        y = T.match_buffer(b, (T.int64(4),), "float32")
        for i in T.serial(T.int64(4)):
            with T.sblock("copy"):
                v = T.axis.spatial(T.int64(4), i)
                y[v] = x[v]

    start = start_of(copy, target)
    assert start is not None and space_of(start) is None
    assert isinstance(start.module, tvm.IRModule)
