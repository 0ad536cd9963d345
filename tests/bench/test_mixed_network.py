"""A network at mixed widths is that with the quantised weights put in; magika's files."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.bench.library_files import library_files, magika_input
from tvm_split.bench.mixed_network import MixedNetwork
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
def network(build):
    def body(emit, x):
        h = emit(relax.op.nn.relu(emit(relax.op.matmul(x, relax.const(FIRST)), "h")), "r")
        return emit(relax.op.matmul(h, relax.const(SECOND)), "y")

    mod = FuseActivation()(build(body, (1, 5)))
    runner = LayerRunner(mod)
    samples = [{"x0": RANDOM.normal(size=(1, 5)).astype("float32")} for _ in range(4)]
    names = [t.name for t in runner.graph.tensors if runner.graph.readers[t.name]]
    return MixedNetwork(mod, runner, layer_weights(mod), activation_choices(gather(runner, names, samples), (3, 8)))


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


def test_a_file_is_its_beginning_and_its_end():
    row = magika_input(b"  \n" + b"a" * 1500 + b"b" * 10 + b"\n\n")[0]
    assert row.shape == (2048,) and set(row[:1024]) == {97}
    assert set(row[1024:-10]) == {97} and set(row[-10:]) == {98}


def test_a_short_file_is_padded_inside():
    row = magika_input(b"abc ")[0]
    assert row[:3].tolist() == [97, 98, 99] and row[3] == 32 and set(row[4:1024]) == {256}
    assert row[-3:].tolist() == [97, 98, 99] and set(row[1024:-3]) == {256}


def test_files_are_of_many_kinds_and_no_more_than_asked():
    found = library_files(7)
    assert len(found) == 7
    assert len({each["bytes"].tobytes() for each in found}) == 7
    assert all(each["bytes"].shape == (1, 2048) and each["bytes"].dtype == np.int32 for each in found)
