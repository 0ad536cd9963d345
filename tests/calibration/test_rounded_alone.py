"""Weights of one layer by second-order error: better than the nearest on other samples, whatever the memory."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.calibration import rounded_alone
from tvm_split.calibration.rounded_alone import RoundedAlone
from tvm_split.calibration.weights import nearest_weights
from tvm_split.errors import DataError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_readings import readings

RANDOM = np.random.default_rng(0)
MIXED = RANDOM.normal(size=(6, 6))


@pytest.fixture(scope="module")
def network(build):
    def const(*shape):
        return relax.const(RANDOM.normal(size=shape).astype("float32"))

    def body(emit, x):
        a = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, const(8, 6, 1, 1)), "a")), "ar")
        b = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(a, const(8, 1, 3, 3), groups=8), "b")), "br")
        return emit(relax.op.nn.conv2d(b, const(4, 8, 1, 1)), "c")

    mod = FuseActivation()(build(body, (1, 6, 40, 40)))
    return LayerRunner(mod), readings(mod)


def samples(count):
    """Channels that hang together, so that one weight can make up for another."""
    return [
        {"x0": np.einsum("ij,njhw->nihw", MIXED, RANDOM.normal(size=(1, 6, 40, 40))).astype("float32")}
        for _ in range(count)
    ]


def lost(runner, reading, weights, batches):
    """E |W x - Wq x|^2 over all places of the samples."""
    off = reading.rows() - weights.reshape(reading.rows().shape)
    total = 0.0
    for batch in batches:
        made = {**batch, **runner.run(batch, [n for n in [reading.data] if n not in batch])}
        columns = reading.columns(made[reading.data], 10**6, np.random.default_rng(0))
        total += float(np.square(np.einsum("gok,gck->goc", off, columns)).sum())
    return total


def test_better_than_the_nearest_on_other_samples(network):
    runner, known = network
    alone, others = RoundedAlone(runner, known, samples(12)), samples(6)
    for name in known:
        nearest = lost(runner, known[name], nearest_weights(known[name].layer.weight, 0, 3), others)
        assert lost(runner, known[name], alone(name, 3).weights, others) < 0.9 * nearest


def test_one_run_finds_what_the_budget_holds(network, monkeypatch):
    """Whatever it holds, the weights are the same ones; a layer beyond it has none. Products: 288, 5184, 512 bytes."""
    runner, known = network
    batches = samples(3)
    wanted = {name: RoundedAlone(runner, known, batches)(name, 4).weights for name in known}
    runs = []
    run = LayerRunner.run
    monkeypatch.setattr(LayerRunner, "run", lambda self, *given: runs.append(given) or run(self, *given))
    for budget, count in ((10**6, 1), (5184 + 288, 2), (5184, 3), (512, 2)):
        runs.clear()
        alone = RoundedAlone(runner, known, batches, budget)
        found = {name: alone(name, 4) for name in known}
        fits = {name for name in known if rounded_alone.product_bytes(known[name]) <= budget}
        assert {name for name in known if found[name] is not None} == fits
        assert all(np.array_equal(found[name].weights, wanted[name]) for name in fits)
        assert len(runs) == count * len(batches)


def test_samples_that_do_not_fit_are_refused(network):
    with pytest.raises(DataError, match="no array for input 'x0'"):
        RoundedAlone(*network, [{}])
