"""The process of tuning, in this process."""

import math
from dataclasses import replace

import pytest
from tvm import tirx

from tvm_split.passes.schedule import FAILED
from tvm_split.tune import lab
from tvm_split.tune.apply import facts, kernel_key
from tvm_split.tune.lab import Lab, Parcel
from tvm_split.tune.space import start_of


def unbuildable(function):
    """A variable that is nowhere defined."""
    return function.with_body(tirx.Evaluate(tirx.call_extern("int32", "f", tirx.Var("nowhere", "int32"))))


@pytest.fixture
def here(target, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "_die_with_parent", lambda: None)
    return Lab(facts(target), "x86_64", str(tmp_path), None)


def test_one_that_cannot_be_built_loses_alone(kernels, here, target, monkeypatch):
    ours = start_of(kernels[0].function, target).scheduled
    made = {"right": ours, "broken": unbuildable(ours), "unfit": None}
    monkeypatch.setattr(lab, "by_trace", lambda start, trace: made[trace])
    found = here.compare(Parcel.of(kernels[0]), ["broken", "right", "unfit"])
    assert [each.equal for each in found] == [True, False, True, False]
    assert [math.isfinite(each.seconds) for each in found] == [True, False, True, False]


def test_a_comparison_without_our_schedule_fails(kernels, here, target, monkeypatch):
    start = start_of(kernels[0].function, target)
    broken = unbuildable(start.scheduled)
    monkeypatch.setattr(lab, "start_of", lambda *_: replace(start, scheduled=broken))
    with pytest.raises(FAILED):
        here.compare(Parcel.of(kernels[0]), [])


def test_trials_of_another_schedule_of_ours_are_another_spaces(kernels, here, target, monkeypatch):
    parcels = [Parcel.of(kernel) for kernel in kernels]
    before = here.costs(parcels)
    assert len({cost.space for cost in before}) == len(before)
    start = start_of(kernels[0].function, target)
    other = start.scheduled.with_attr("tvm_split.other", 1)
    monkeypatch.setattr(lab, "start_of", lambda *_: replace(start, scheduled=other))
    monkeypatch.setattr(lab, "space_of", lambda _: None)
    (after,) = here.costs(parcels[:1])
    assert after.space != before[0].space and after.ours == kernel_key(other) and after.points == 0
