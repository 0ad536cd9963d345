"""The space around our schedules: our own point, other points, and equal results at all of them."""

import pytest
import tvm
import tvm_ffi
from tvm import s_tir
from tvm.s_tir.schedule import Trace

from tvm_split.tune.compare import compare
from tvm_split.tune.measuring import Place
from tvm_split.tune.space import FAILED, replay, space_of, start_of


def points(start, space, count):
    """Up to `count` kernels at random points of the space."""
    found = []
    for seed in range(1, 8 * count):
        sch = s_tir.Schedule(start.module, seed=seed)
        try:
            Trace(list(space.trace.insts), {}).apply_to_schedule(sch, remove_postproc=False)
        except FAILED:
            continue
        found.append(sch.mod["main"])
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("rule", ["Packed", "Depthwise"])
def test_begins_at_our_schedule(kernels, target, rule):
    (start,) = (start for start in (start_of(kernel.function, target) for kernel in kernels) if start.rule == rule)
    space = space_of(start)
    assert space.size > 4
    ours = replay(start.module, Trace([i for i in space.trace.insts], dict(space.trace.decisions)))
    factors = [i for i in space.trace.insts if i.kind.name == "SampleCategorical"]
    assert factors and all(space.trace.get_decision(inst) == 0 for inst in factors)
    unrolled = "T.unroll" in start.scheduled.script()
    assert ours is not None and unrolled


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
