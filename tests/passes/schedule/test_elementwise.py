"""Elementwise layers: one block, the same bits, and loops that are only parallel where it pays."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.schedule.elementwise import Default, Elementwise

op = relax.op
BODIES = {
    "broadcast": (lambda e, x, b: op.maximum(e(op.add(x, b)), b), (1, 32, 32, 24), (24,)),
    "planes": (lambda e, x, b: op.add(x, b), (1, 48, 20, 20), (48, 1, 1)),
    "same": (lambda e, x, y: op.add(x, y), (1, 96, 20, 20), (1, 96, 20, 20)),
    "vector": (lambda e, x: op.nn.relu(x), (50000,)),
    "concat_channels": (lambda e, x, y: op.concat([x, y], 3), (1, 64, 64, 48), (1, 64, 64, 24)),
    "concat_planes": (lambda e, x, y: op.concat([x, y], 1), (1, 48, 64, 64), (1, 24, 64, 64)),
    "concat_three": (lambda e, x, y: op.concat([x, y, x], 1), (1, 40, 64, 64), (1, 3, 64, 64)),
    "slice": (lambda e, x: op.strided_slice(x, [1, 2], [0, 1], [40, 39], [2, 2]), (1, 40, 40, 32)),
    "pad": (lambda e, x: op.nn.pad(x, (0, 0, 1, 2, 3, 0, 0, 0)), (1, 40, 40, 16)),
    "resize": (lambda e, x: op.image.resize2d(x, (40, 40), layout="NHWC", method="nearest_neighbor"), (1, 20, 20, 32)),
    "few": (lambda e, x: op.nn.relu(x), (1, 10)),
}


@pytest.mark.parametrize("name", BODIES)
def test_every_bit_stays(kernel, compare, name):
    body, *shapes = BODIES[name]
    scheduled, written, schedule = compare(Elementwise(), kernel(body, *shapes))
    assert np.array_equal(scheduled, written)
    if name in ("broadcast", "planes", "same", "vector", "concat_planes"):
        assert "T.parallel" in schedule.mod.script()
    if name == "few":
        assert "T.parallel" not in schedule.mod.script()


def test_a_product_and_a_sum_lose_one_rounding_at_most(kernel, compare):
    """In one block LLVM makes them one instruction, which rounds once."""
    func = kernel(lambda e, x, a, b: op.add(e(op.multiply(x, a)), b), (1, 32, 32, 24), (24,), (24,))
    scheduled, written, _ = compare(Elementwise(), func)
    random = np.random.default_rng(0)
    x, a = (random.standard_normal(shape).astype("float32") for shape in ((1, 32, 32, 24), (24,)))
    bound = 2.0**-24 * (np.abs(x * a) + 2 * np.abs(written)) * 1.001
    assert (np.abs(scheduled.astype("float64") - written) <= bound).all()


def test_a_chain_becomes_one_block(kernel, compare):
    def body(emit, x):
        return op.multiply(x, emit(op.clip(emit(op.add(x, relax.const(3.0))), 0, 6)))

    scheduled, written, schedule = compare(Elementwise(), kernel(body, (1, 56, 56, 40)))
    assert np.array_equal(scheduled, written)
    assert schedule.mod.script().count("T.sblock(") == 2  # and the root


def test_what_many_elements_share_is_made_once(kernel, compare):
    def body(emit, x, variance):
        return op.divide(x, emit(op.sqrt(emit(op.abs(variance)))))

    _, _, schedule = compare(Elementwise(), kernel(body, (1, 32, 32, 64), (64,)))
    assert schedule.mod.script().count("T.sblock(") == 3  # and the root


def test_reductions_are_left_to_other_rules(kernel, compare, host):
    func = kernel(lambda e, x: op.sum(x, [0]), (64, 64))
    assert Elementwise().apply(func, host, False) is None
    scheduled, written, _ = compare(Default(), func)
    assert np.array_equal(scheduled, written)
