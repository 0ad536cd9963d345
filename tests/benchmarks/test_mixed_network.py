"""A network at mixed widths is that with the quantised weights put in."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.calibration.distortion import activation_choices
from tvm_split.calibration.gather import gather
from tvm_split.calibration.layer_inputs import as_held
from tvm_split.calibration.weights import dequantize_weights, quantize_weights
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layer_weights import layer_weights

RANDOM = np.random.default_rng(0)
FIRST, SECOND = (RANDOM.normal(size=shape).astype("float32") for shape in ((5, 7), (7, 3)))


@pytest.fixture(scope="module")
def network(build, script):
    def body(emit, x):
        h = emit(relax.op.nn.relu(emit(relax.op.matmul(x, relax.const(FIRST)), "h")), "r")
        return emit(relax.op.matmul(h, relax.const(SECOND)), "y")

    mod = FuseActivation()(build(body, (1, 5)))
    runner = LayerRunner(mod)
    samples = [{"x0": RANDOM.normal(size=(1, 5)).astype("float32")} for _ in range(4)]
    names = [t.name for t in runner.graph.tensors if runner.graph.readers[t.name]]
    choices = activation_choices(gather(runner, names, samples), (3, 8))
    return script("mixed_network").MixedNetwork(mod, runner, layer_weights(mod), choices)


def at(array, bits):
    return dequantize_weights(*quantize_weights(array, 1, bits), 1)


@pytest.mark.parametrize(("first", "second", "held"), [(2, 8, 3), (8, 2, 8), (4, 4, 3)])
def test_weights_and_tensors_are_what_their_codes_stand_for(network, first, second, held):
    one, two = network.weights
    x = RANDOM.normal(size=(1, 5)).astype("float32")
    read, middle = "x0", network.runner.graph.layer[two].inputs[0]
    quantizer = {name: network.choices[name][held].quantizer for name in (read, middle)}
    h = as_held(np.maximum(as_held(x, quantizer[read]) @ at(FIRST, first), 0), quantizer[middle])
    (got,) = network.outputs({"x0": x}, {one: first, two: second}, {read: held, middle: held})
    np.testing.assert_allclose(got, h @ at(SECOND, second), rtol=1e-5, atol=1e-5)


def test_what_has_no_width_is_as_it_is(network):
    x = RANDOM.normal(size=(1, 5)).astype("float32")
    (got,) = network.outputs({"x0": x}, {}, {})
    (want,) = network.runner.run({"x0": x}, network.runner.graph.outputs).values()
    assert (got == want).all()
