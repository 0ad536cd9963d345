"""The limits' arithmetic, and that the kernels that measure them compute what they say."""

import numpy as np
import pytest
import tvm
from tvm.target import codegen

from tvm_split.bench.peak_kernels import dot_products, multiply_add, read
from tvm_split.bench.peaks import CHAINS, STEPS, Limits, falling, measure, probes
from tvm_split.passes.schedule import dot_x86
from tvm_split.passes.schedule.dot import Dot
from tvm_split.passes.schedule.dot_kinds import dot_of
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve

LIMITS = Limits(100e9, {1_000: 50e9, 1_000_000: 10e9})


@pytest.mark.parametrize(
    "flops, size_bytes, seconds",
    [
        (200_000_000_000, 1_000, 2.0),  # arithmetic
        (0, 5_000, 1e-7),  # the block of 1000: the faster of those around it
        (0, 500, 1e-8),  # smaller than every block
        (0, 1_000_000, 1e-4),
        (0, 50_000_000, 5e-3),
        (100, 1_000_000, 1e-4),  # bytes are slower
    ],
)
def test_a_layer_takes_the_slower_of_arithmetic_and_bytes(flops: int, size_bytes: int, seconds: float) -> None:
    assert LIMITS.seconds(flops, size_bytes) == pytest.approx(seconds)


def test_layers_of_integers_have_the_limit_of_integers_where_it_is_known() -> None:
    limits = Limits(100e9, {1_000: 50e9}, 400e9)
    assert limits.seconds(200_000_000_000, 1_000, int8=True) == pytest.approx(0.5)
    assert limits.seconds(200_000_000_000, 1_000) == pytest.approx(2.0)
    assert limits.seconds(400, 1_000, int8=True) == pytest.approx(2e-8)
    assert LIMITS.seconds(200_000_000_000, 1_000, int8=True) == pytest.approx(2.0)


def test_no_block_is_slower_than_a_larger_one() -> None:
    assert falling({1: 5.0, 2: 9.0, 4: 7.0, 8: 8.0}) == {1: 9.0, 2: 9.0, 4: 8.0, 8: 8.0}


def test_the_loops_compute_what_they_say() -> None:
    target = resolve(load_target("host"))
    lib = tvm.compile(tvm.IRModule({"f": multiply_add("f", 2, 3, 8, 4), "r": read("r", 2, 64, 2, 8, 3)}), target).mod
    random = np.random.default_rng(0)
    factor, start = random.random(24, np.float32), random.random(24, np.float32)
    out = tvm.runtime.tensor(np.zeros((2, 24), np.float32))
    lib["f"](tvm.runtime.tensor(factor), tvm.runtime.tensor(start), out)
    expected = start.astype(np.float64)
    for _ in range(4):
        expected = expected * np.tile(factor[:8], 3) + np.tile(start[:8], 3)
    np.testing.assert_allclose(out.numpy(), np.tile(expected, (2, 1)), rtol=1e-5)

    data = random.random(128, np.float32)
    total = tvm.runtime.tensor(np.zeros((2, 16), np.float32))
    lib["r"](tvm.runtime.tensor(data), total)
    np.testing.assert_allclose(total.numpy(), 3 * data.reshape(2, 4, 16).sum(1), rtol=1e-5)


@pytest.mark.parametrize("dot", dot_x86.NEEDS, ids=lambda dot: dot.name)
def test_dot_products_are_added_up_exactly(dot: Dot) -> None:
    target = resolve(load_target("host"))
    if not codegen.target_has_features(dot_x86.NEEDS[dot], target):
        pytest.skip(f"this machine has no {dot.name}")
    lib = tvm.compile(tvm.IRModule({"d": dot_products("d", 2, 3, 4, dot)}), target).mod
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (3, dot.pixels, dot.terms)).astype(dot.data)
    weights = random.integers(-128, 128, (max(dot.lanes), dot.terms)).astype(dot.weight)
    out = tvm.runtime.tensor(np.zeros((2, 3, dot.pixels, max(dot.lanes)), np.int32))
    lib["d"](tvm.runtime.tensor(data), tvm.runtime.tensor(weights), out)
    expected = 4 * data.astype(np.int32) @ weights.astype(np.int32).T
    np.testing.assert_array_equal(out.numpy(), np.stack([expected, expected]))


class FakeKernels:
    """Answers as a worker that has loaded `probes`: each call takes a millisecond."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    def ask(self, method: str, symbol: str, types: object, repeats: int, min_repeat_ms: int) -> list[float]:
        self.asked[symbol] = repeats
        return [2e-3, 1e-3, 3e-3]


def test_measure_asks_for_every_probe_and_counts_all_threads() -> None:
    target = resolve(load_target("host"))
    one, two = FakeKernels(), FakeKernels()
    of_one, of_two = measure(one, target, 1), measure(two, target, 2)  # type: ignore[arg-type]
    assert set(one.asked) == {gvar.name_hint for gvar in probes(target, 1).get_global_vars()}
    assert of_two.flops_per_s == pytest.approx(2 * of_one.flops_per_s)
    dot = dot_of(target)
    if dot is None:
        assert of_one.int8_ops_per_s is None
    else:
        operations = 2 * CHAINS * STEPS * dot.pixels * max(dot.lanes) * dot.terms
        assert of_one.int8_ops_per_s == pytest.approx(operations / 1e-3)
        assert of_two.int8_ops_per_s == pytest.approx(2 * operations / 1e-3)
    assert list(of_two.bandwidth) == [2 * size for size in of_one.bandwidth]
    assert max(of_one.bandwidth.values()) == pytest.approx((64 << 20) / 1e-3)  # 64 MiB read in the fastest call
