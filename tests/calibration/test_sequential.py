"""Layers rounded in order: the network's outputs are nearer the float network's than by rounding each for itself."""

from functools import partial

import numpy as np
import pytest
from tvm import relax

from tvm_split.calibration.rounded import changed_layer
from tvm_split.calibration.sequential import Pair, round_in_order, rounded_pair
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.errors import DataError, GraphError
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_alone import layer_alone
from tvm_split.passes.layer_readings import readings
from tvm_split.passes.round_weights import Rounded, RoundWeights
from tvm_split.quantizer import Quantizer

RANDOM = np.random.default_rng(0)
MIXED = RANDOM.normal(size=(6, 6))
BITS = {"a": 3, "b": 3, "c": 3, "d": 3}


def normal(*shape):
    return relax.const(RANDOM.normal(size=shape).astype("float32"))


@pytest.fixture(scope="module")
def network(build):
    def body(emit, x):
        bias = normal(1, 8, 1, 1)
        a = emit(relax.op.add(emit(relax.op.nn.conv2d(x, normal(8, 6, 1, 1)), "a"), bias), "ab")
        ar = emit(relax.op.nn.relu(a), "ar")
        b = emit(relax.op.nn.conv2d(ar, normal(8, 1, 3, 3), groups=8, padding=(1, 1)), "b")
        br = emit(relax.op.nn.relu(emit(relax.op.add(b, bias), "bb")), "br")
        p = emit(relax.op.nn.avg_pool2d(br, (2, 2), (2, 2)), "p")
        c = emit(relax.op.add(emit(relax.op.nn.conv2d(p, normal(8, 8, 1, 1)), "c"), bias), "cb")
        d = emit(relax.op.nn.conv2d(emit(relax.op.nn.relu(c), "cr"), normal(5, 8, 1, 1)), "d")
        return relax.op.nn.relu(d)

    return FuseActivation()(build(body, (1, 6, 12, 12)))


def samples(count):
    return [
        {"x0": np.einsum("ij,njhw->nihw", MIXED, RANDOM.normal(size=(1, 6, 12, 12))).astype("float32")}
        for _ in range(count)
    ]


def in_order(network, batches, held):
    return round_in_order(
        LayerRunner(network), partial(changed_layer, network), readings(network), batches, BITS, held
    )  # fmt: skip


def outputs(mod, batches):
    runner = LayerRunner(mod)
    return np.stack([runner.run(one, runner.graph.outputs)[runner.graph.outputs[0]] for one in batches])


def test_nearer_the_float_network_on_other_samples(network):
    batches, others = samples(24), samples(8)
    held = {"x0": Quantizer(8, 0.1, 128)}
    wanted = outputs(network, others)
    weights = {name: reading.layer.weight for name, reading in readings(network).items()}
    nearest = {name: Rounded(dequantize_weights(*quantize_weights(weights[name], 0, BITS[name]), 0)) for name in BITS}
    errors = [
        np.square(outputs(RoundWeights(rounded)(network), others) - wanted).mean()
        for rounded in (in_order(network, batches, held), nearest)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_a_layer_takes_back_what_came_before(network):
    reading = readings(network)["c"]
    x = RANDOM.normal(size=(1, 4000, 8)).astype("float32") + 1
    held = 0.5 * x + RANDOM.normal(size=x.shape).astype("float32") * 0.01 + 2  # half as large, and moved
    rounded = rounded_pair(reading, Pair.of(x, held), 8)
    values = rounded.weights.reshape(8, 8) @ held[0].T + rounded.shift[:, np.newaxis]
    expected = reading.rows()[0] @ x[0].T
    np.testing.assert_allclose(values.mean(axis=1), expected.mean(axis=1), atol=1e-3)
    straight = reading.rows()[0] @ (held[0] - held[0].mean(axis=0)).T + expected.mean(axis=1, keepdims=True)
    assert np.square(values - expected).sum() < 0.1 * np.square(straight - expected).sum()


def test_sums_of_pairs():
    x, held = RANDOM.normal(size=(2, 2, 50, 3)).astype("float32") + 5
    both, whole = Pair.of(x[:, :9], held[:, :9]) + Pair.of(x[:, 9:], held[:, 9:]), Pair.of(x, held)
    np.testing.assert_allclose(both.cross, whole.cross, atol=1e-4)
    np.testing.assert_allclose(both.means, whole.means)
    expected = [np.cov(one.T, other.T, bias=True)[:3, 3:] * 50 for one, other in zip(x, held, strict=True)]
    np.testing.assert_allclose(whole.cross, expected, atol=1e-4)


def test_a_layer_alone_computes_its_bits(network):
    whole = LayerRunner(network)
    layer = whole.graph.layer["b"]
    one = LayerRunner(layer_alone(network, "b"))
    assert one.graph.inputs == layer.inputs
    known = whole.run(samples(1)[0], layer.inputs)
    (found,) = one.run(known, one.graph.outputs).values()
    (expected,) = whole.run(known, layer.outputs).values()
    np.testing.assert_array_equal(found, expected)


def test_what_is_missing(network):
    with pytest.raises(GraphError, match="no layer 'z'"):
        layer_alone(network, "z")
    with pytest.raises(DataError, match="no batches"):
        in_order(network, [], {})


def test_a_layer_whose_products_overflow_keeps_the_nearest_codes(network):
    """And so do those that it feeds; the others are rounded."""
    batches = [{"x0": one["x0"] * np.float32(3e25)} for one in samples(4)]
    found = in_order(network, batches, {})
    assert "a" not in found and all(np.isfinite(each.weights).all() for each in found.values())
