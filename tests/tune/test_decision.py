"""What is decided from injected figures: no clock in these tests."""

import math
import re

import pytest
import tvm

from tvm_split.tune.choice import costliest
from tvm_split.tune.compare import GAIN, Measured, compare, winner
from tvm_split.tune.kernels import Kernel
from tvm_split.tune.lab import Cost
from tvm_split.tune.measuring import Place
from tvm_split.tune.space import start_of
from tvm_split.tune.trials import Trial
from tvm_split.tune.tuner import decision_of


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], None),
        ([Measured(True, 1.01)], None),
        ([Measured(True, GAIN)], None),
        ([Measured(True, 0.9)], 0),
        ([Measured(False, 0.1)], None),
        ([Measured(False, 0.1), Measured(True, 0.9), Measured(True, 0.8)], 2),
        ([Measured(False, math.inf)], None),
    ],
)
def test_the_fastest_equal_one_that_gains_wins(others, expected):
    assert winner(1.0, others) == expected


def test_decisions_say_why():
    trials = [Trial(0, "t0", 1.0), Trial(0, "t1", math.inf)]

    def decided(traces, measured):
        return decision_of(("layer",), 8, trials, traces, measured, "hash")

    won = decided(["t0"], [Measured(True, 1.0), Measured(True, 0.5)])
    assert won.is_tuned and (won.trace, won.ours_s, won.tuned_s, won.failed) == ("t0", 1.0, 0.5, 1)
    slower = decided(["t0"], [Measured(True, 1.0), Measured(True, 1.2)])
    assert not slower.is_tuned and (slower.reason, slower.tuned_s) == ("no trial was faster", 1.2)
    unequal = decided(["t0"], [Measured(True, 1.0), Measured(False, math.inf)])
    assert not unequal.is_tuned and (unequal.reason, unequal.unequal) == ("the trials gave other results", 1)
    assert decided(["t0"], []).reason == "the comparison failed"
    assert decided([], []).reason == "no trial could be built and run"


def test_a_kernel_with_other_results_is_not_timed(kernels, target, tmp_path):
    """The schedule of a kernel with another activation: the same arguments, other results."""
    (point,) = (k for k in kernels if start_of(k.function, target).rule == "Packed")
    start = start_of(point.function, target)
    other = _with_another_floor(start.scheduled)
    measured = compare(
        [start.scheduled, other, start.scheduled], point.reads, point.writes, Place(target, "x86_64", tmp_path), 1
    )
    assert [each.equal for each in measured] == [True, False, True]
    assert math.isinf(measured[1].seconds) and math.isfinite(measured[2].seconds)


def _with_another_floor(function):
    """max(sum, 0) becomes max(sum, 0.5)."""
    text, count = re.subn(r"(T\.max\(sums\[[^\]]*\], T\.float32\()0\.0", r"\g<1>0.5", function.script())
    assert count == 1
    return tvm.script.from_source(text)


def kernel(name, calls=1):
    return Kernel(name, None, tuple(f"{name}{i}" for i in range(calls)), (), ())


def test_the_costliest_come_first_and_calls_count():
    kernels = [kernel("a"), kernel("b", 3), kernel("c"), kernel("d")]
    costs = [Cost(2.0, 5, ""), Cost(1.0, 5, ""), Cost(4.0, 0, ""), Cost(1.0, 5, "")]

    def names(**how):
        chosen, total = costliest(kernels, costs, **{"layers": None, "share": 0.8, **how})
        assert total == 10.0
        return [kernel.key for kernel, _ in chosen]

    assert names(share=0.8) == ["b", "a"]  # c takes 4 of the 9 but cannot vary
    assert names(share=1.0) == ["b", "a", "d"]
    assert names(share=0.1) == []
    assert names(layers=1) == ["b"]
    assert names(layers=9) == ["b", "a", "d"]
