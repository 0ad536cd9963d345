"""Weights of a layer rounded for its outputs: less is lost than by the nearest ones, and nothing on average."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.calibration.layer_inputs import gather_inputs
from tvm_split.calibration.rounding import round_layers, rounded_weights
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_readings import readings
from tvm_split.passes.round_weights import RoundWeights

RANDOM = np.random.default_rng(0)
SHAPE = (1, 6, 12, 12)
SIZES = {"c": (8, 6, 3, 3), "d": (8, 1, 3, 3), "e": (5, 8, 1, 1)}
WEIGHTS = {name: RANDOM.normal(size=size) for name, size in SIZES.items()}
BIAS = RANDOM.normal(size=(1, 8, 1, 1))


@pytest.fixture(scope="module")
def network(build):
    def body(emit, x):
        w = {name: relax.const(array.astype("float32")) for name, array in WEIGHTS.items()}
        bias = relax.const(BIAS.astype("float32"))
        c = emit(relax.op.add(emit(relax.op.nn.conv2d(x, w["c"], padding=(1, 1)), "c"), bias), "cb")
        d = emit(relax.op.nn.conv2d(emit(relax.op.nn.relu(c), "cr"), w["d"], groups=8), "d")
        e = emit(relax.op.nn.conv2d(emit(relax.op.tanh(emit(relax.op.add(d, bias), "db")), "dt"), w["e"]), "e")
        return relax.op.nn.relu(e)

    return FuseActivation()(build(body, SHAPE))


@pytest.fixture(scope="module")
def samples():
    base = RANDOM.normal(size=(8, 1, 6, 13, 13)).cumsum(axis=3).cumsum(axis=2)  # neighbours are alike
    return [{"x0": (one[..., 1:, :-1] * 0.1 + 0.5).astype("float32")} for one in base]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_less_is_lost_and_nothing_on_average(network, samples, bits):
    runner = LayerRunner(network)
    wanted = readings(network)
    moments = gather_inputs(runner, wanted, samples, {})
    for name, reading in wanted.items():
        biased = name != "e"
        rounded = rounded_weights(reading, moments[name], bits)
        assert rounded.weights.shape == WEIGHTS[name].shape and (rounded.shift is not None) == biased
        data = [runner.run(one, [reading.data])[reading.data] for one in samples]
        x = np.concatenate([reading.columns(one, 1000, np.random.default_rng(0)) for one in data], axis=1)
        codes, scales = quantize_weights(WEIGHTS[name].astype("float32"), 0, bits)
        off = {"new": rounded.weights - WEIGHTS[name], "near": dequantize_weights(codes, scales, 0) - WEIGHTS[name]}
        outputs = {
            key: np.einsum("gok,gpk->gop", array.reshape(len(x), -1, x.shape[2]), x).reshape(len(array), -1)
            for key, array in off.items()
        }
        if biased:
            np.testing.assert_allclose(outputs["new"].mean(axis=1) + rounded.shift, 0, atol=1e-3)
            outputs["new"] += rounded.shift[:, np.newaxis]
        assert np.square(outputs["new"]).sum() < 0.9 * np.square(outputs["near"]).sum()


def test_layers_of_a_network(network, samples):
    runner = LayerRunner(network)
    rounded = round_layers(runner, readings(network), samples, {"c": 4, "e": 2}, {})
    assert list(rounded) == ["c", "e"]
    assert len(np.unique(rounded["e"].weights[0])) <= 3
    out = RoundWeights(rounded)(network)
    assert readings(out)["d"].layer.weight.tolist() == WEIGHTS["d"].astype("float32").tolist()
