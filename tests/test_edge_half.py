"""An edge half with bits: near the float half within what its quantisers lose, what crosses at few bits, memory."""

import numpy as np
import pytest
from tvm import relax

from tvm_split import extract
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated
from tvm_split.edge_half import EdgeHalf, with_precision
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.partition import Partition
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.plan.problem import Candidate, Crossing, Timing

SHAPE = (1, 8, 12, 12)


@pytest.fixture(scope="module")
def network(build):
    """x -> a -> p (pool) -> b, and b + p in the cloud: p is read by the edge and sent."""
    random = np.random.default_rng(0)

    def body(emit, x):
        def conv(data, name):
            weight = random.normal(size=(8, 8, 3, 3), scale=0.1).astype("float32")
            made = emit(relax.op.nn.conv2d(data, relax.const(weight), padding=1), name)
            return emit(relax.op.nn.relu(made), f"{name}_relu")

        pool = emit(relax.op.nn.max_pool2d(conv(x, "a"), (2, 2), (2, 2)), "p")
        inner = conv(pool, "b")
        return emit(relax.op.nn.softmax(emit(relax.op.concat([inner, pool], axis=1), "j"), axis=1), "y")

    return FuseActivation()(build(body, SHAPE))


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(1)
    return [{"x0": random.normal(size=SHAPE).astype("float32")} for _ in range(4)]


@pytest.fixture(scope="module")
def runner(network):
    return LayerRunner(network)


@pytest.fixture(scope="module")
def calibrated(network, runner, samples):
    graph = extract.graph(network)
    names = [tensor.name for tensor in graph.tensors if graph.readers[tensor.name]]
    return Calibrated.of(network, graph, gather(runner, names, samples))


def candidate(weight_bits, tensor_bits, crossing_bits):
    crossing = tuple(Crossing(name, (1, 8, 6, 6), bits, 36 * bits) for name, bits in crossing_bits.items())
    times = Timing(0, 0, 0, 0)
    return Candidate("split", ("a", "p", "b"), crossing, 0, times, weight_bits, tensor_bits)


def quantizers(calibrated, chosen):
    return {name: choice.quantizer for name, choice in calibrated.held(chosen).items()}, calibrated.sent(chosen)


@pytest.mark.parametrize("bits", [4, 8])
def test_near_the_float_half(network, runner, calibrated, samples, bits):
    chosen = candidate({"a": bits, "b": bits}, {"x0": bits, "a": bits, "p": bits}, {"b": bits, "p": bits})
    held, sent = quantizers(calibrated, chosen)
    assert (
        held["a"] == held["p"] == sent["p"] != sent["b"]
    )  # one quantiser: the pool moves codes, and p is sent as it is held
    half = EdgeHalf(network, chosen, held, sent, "edge")
    for sample in samples:
        wanted, found = runner.run(sample, ["b", "p"]), half.run(sample)
        assert set(found) == {"b", "p"}
        for name in found:
            steps = np.unique(np.rint(found[name] / np.float32(sent[name].scale)))
            assert len(steps) <= 2**bits and found[name].shape == wanted[name].shape
            error = np.linalg.norm(found[name] - wanted[name]) / np.linalg.norm(wanted[name])
            assert 0 < error < (0.4 if bits == 4 else 0.03)


def test_what_is_only_sent_is_quantised_once(network, calibrated):
    chosen = candidate({"a": 8, "b": 8}, {"x0": 8, "a": 8, "p": 8, "b": 8}, {"b": 4, "p": 8})
    held, sent = quantizers(calibrated, chosen)
    assert (held["b"].bits, sent["b"].bits) == (8, 4)
    marked = AssignCut(chosen.edge_layers)(network)
    half = with_precision(Partition("edge")(QuantizeCut(sent)(marked)), chosen, held)
    graph = extract.graph(half)
    kinds = [layer.op for layer in graph.layers]
    assert len(kinds) == 4 and [kind.split("_").count("quantize") for kind in kinds] == [1, 1, 0, 1]
    assert {tensor.dtype for tensor in graph.tensors if tensor.name != "x0"} == {"uint8"}


def test_floats_stay_as_they_are(network, samples, runner):
    chosen = candidate({}, {}, {"b": 32, "p": 32})
    half = Partition("edge")(AssignCut(chosen.edge_layers)(network))
    assert with_precision(half, chosen, {}).same_as(half)
    found = EdgeHalf(network, chosen, {}, {}, "edge").run(samples[0])
    for name, wanted in runner.run(samples[0], ["b", "p"]).items():
        np.testing.assert_array_equal(found[name], wanted)


def test_precision_of_a_network(calibrated):
    found = calibrated.precision((4, 8, 32), (2, 8), None, {})
    assert found.weight_matrix == {"a": (8, 72), "b": (8, 72)}
    assert set(found.weight_distortion["a"]) == {4, 8} and set(found.tensor_distortion["p"]) == {2, 4, 8}
    assert found.tensor_distortion["p"][2] > found.tensor_distortion["p"][8] > 0
    assert found.weight_distortion["a"][4] > found.weight_distortion["a"][8] > 0
