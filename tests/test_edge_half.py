"""An edge half with bits: near the float half within what its quantisers lose, what crosses at few bits, memory."""

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_split import extract, pipeline
from tvm_split.calibration.gather import gather
from tvm_split.calibration.network import Calibrated
from tvm_split.calibration.statistics import Statistics
from tvm_split.edge_half import EdgeHalf, with_precision
from tvm_split.layer_runner import LayerRunner
from tvm_split.passes.annotate_precision import AnnotatePrecision
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.choose_winograd import ChooseWinograd
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.layering import COMPOSITE, WINOGRAD, layer_calls
from tvm_split.passes.partition import Partition
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.plan.problem import Candidate, Crossing, Timing
from tvm_split.quantised import Quantised
from tvm_split.quantizer import Quantizer

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
    held = calibrated.held(chosen)
    return Quantised(held, calibrated.sent(chosen, held)).quantizers()


@pytest.mark.parametrize("bits", [4, 8])
def test_near_the_float_half(network, runner, calibrated, samples, bits):
    chosen = candidate({"a": bits, "b": bits}, {"x0": bits, "a": bits, "p": bits}, {"b": bits, "p": bits})
    held, sent = quantizers(calibrated, chosen)
    assert (
        held["a"] == held["p"] == sent["p"] != sent["b"]
    )  # one quantiser: the pool moves codes, and p is sent as it is held
    half = EdgeHalf(network, chosen, held, sent, "edge")
    for sample in samples:
        wanted, (found, outputs) = runner.run(sample, ["b", "p"]), half.run(sample)
        assert set(found) == {"b", "p"} and not outputs
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


def test_halves(network, runner, calibrated, samples):
    """16 bits: weights and tensors are float16, and what crosses has 16 bits."""
    chosen = candidate({"a": 16, "b": 16}, {"x0": 16, "a": 16, "p": 16, "b": 16}, {"b": 16, "p": 16})
    held, sent = quantizers(calibrated, chosen)
    assert not held and {each.bits for each in sent.values()} == {16}
    marked = AssignCut(chosen.edge_layers)(network)
    graph = extract.graph(with_precision(Partition("edge")(QuantizeCut(sent)(marked)), chosen, held))
    dtypes = [tensor.dtype for tensor in graph.tensors if tensor.name != "x0"]
    assert sorted(dtypes) == ["float16"] * 3 + ["uint16"] * 2, "b is only sent: it is quantised where it is made"
    assert sum(layer.weight_bytes for layer in graph.layers) == pytest.approx(
        2 * 2 * 8 * 8 * 9, abs=16
    )  # and the numbers of quantisers
    half = EdgeHalf(network, chosen, held, sent, "edge")
    for sample in samples:
        wanted, (found, _) = runner.run(sample, ["b", "p"]), half.run(sample)
        for name in found:
            error = np.linalg.norm(found[name] - wanted[name]) / np.linalg.norm(wanted[name])
            assert 0 < error < 2.0**-9


def test_floats_stay_as_they_are(network, samples, runner):
    chosen = candidate({}, {}, {"b": 32, "p": 32})
    half = Partition("edge")(AssignCut(chosen.edge_layers)(network))
    assert with_precision(half, chosen, {}).same_as(half)
    found, _ = EdgeHalf(network, chosen, {}, {}, "edge").run(samples[0])
    for name, wanted in runner.run(samples[0], ["b", "p"]).items():
        np.testing.assert_array_equal(found[name], wanted)


def test_precision_of_a_network(calibrated):
    found = calibrated.precision((4, 8, 32), (2, 8), None, {})
    assert found.weight_matrix == {"a": (8, 72), "b": (8, 72)}
    assert set(found.weight_distortion["a"]) == {4, 8} and set(found.tensor_distortion["p"]) == {2, 4, 8}
    assert found.tensor_distortion["p"][2] > found.tensor_distortion["p"][8] > 0
    assert found.weight_distortion["a"][4] > found.weight_distortion["a"][8] > 0


def test_a_tensor_that_crosses_and_is_an_output(build):
    """The cloud reads two bits of it; what the edge returns is what was computed. Both from one layer's floats."""
    weight = relax.const(np.random.default_rng(2).normal(size=(8, 8, 3, 3)).astype("float32"))

    def body(emit, x):
        a = emit(relax.op.nn.relu(emit(relax.op.nn.conv2d(x, weight, padding=1), "a")), "a_relu")
        return relax.Tuple([a, emit(relax.op.nn.softmax(a, axis=1), "y")])

    mod = FuseActivation()(build(body, SHAPE))
    graph = extract.graph(mod)
    sample = {"x0": np.random.default_rng(3).normal(size=SHAPE).astype("float32")}
    runner = LayerRunner(mod)
    known = Calibrated.of(mod, graph, gather(runner, ["x0", "a"], [sample]))
    crossing = (Crossing("a", graph.tensor["a"].shape, 2, 288),)
    chosen = Candidate("split", ("a",), crossing, 0, Timing(0, 0, 0, 0), {"a": 8}, {"x0": 8})
    held, sent = quantizers(known, chosen)
    marked = QuantizeCut(sent)(AssignCut(chosen.edge_layers)(mod))
    half = extract.graph(with_precision(Partition("edge")(marked), chosen, held))
    assert [tensor.dtype for tensor in half.tensors] == ["float32", "uint8", "float32", "uint8"]
    (read,), (shown,) = (each.values() for each in EdgeHalf(mod, chosen, held, sent, "edge").run(sample))
    assert len(np.unique(read)) <= 4 < len(np.unique(shown))
    wanted = runner.run(sample, ["a"])["a"]
    assert 0 < np.linalg.norm(shown - wanted) < 0.03 * np.linalg.norm(wanted)


def test_a_winograd_layer_beside_integers_keeps_its_mark(build):
    weight = relax.const(np.random.default_rng(4).normal(size=(64, 64, 3, 3)).astype("float32"))

    def body(emit, x):
        first = emit(relax.op.nn.conv2d(x, weight, padding=1), "first")
        return emit(relax.op.nn.conv2d(first, weight, padding=1), "second")

    layered = FuseActivation()(build(body, (1, 64, 32, 32)))
    held = {"x0": Quantizer(8, 0.1, 0), "first": Quantizer(8, 0.5, 0)}
    for wanted in (True, False):
        steps = [ChooseWinograd(wanted), AnnotatePrecision({"first": 8}, held), pipeline.quantized()]
        made = tvm.transform.Sequential(steps)(layered)
        convolutions = [callee for _, callee in layer_calls(made) if "conv2d" in str(callee.attrs[COMPOSITE])]
        assert [callee.attrs.get(WINOGRAD) for callee in convolutions] == [None, wanted]


def test_planned_weights_of_a_winograd_layer_are_those_of_the_half(build):
    """Integer kernels do without Winograd's 16/9."""
    weight = relax.const(np.random.default_rng(4).normal(size=(64, 64, 3, 3)).astype("float32"))
    body = lambda emit, x: emit(relax.op.nn.conv2d(x, weight, padding=1), "c")  # noqa: E731
    mod = ChooseWinograd()(FuseActivation()(build(body, (1, 64, 32, 32))))
    graph = extract.graph(mod)
    (layer,) = graph.layers
    elements = 64 * 64 * 9
    assert (layer.weight_bytes, layer.winograd_bytes) == (4 * elements * 16 // 9, 4 * elements * 7 // 9)
    known = Calibrated.of(mod, graph, {"x0": Statistics.of(np.array([-3.0, 3.0], "float32"))})
    planned = known.precision((8,), (8,), None, {}).weight_bytes(layer, 8)
    marked = AnnotatePrecision({layer.name: 8}, {"x0": Quantizer(8, 0.05, 128)})(mod)
    made = extract.graph(pipeline.quantized()(marked))
    assert planned == pytest.approx(sum(each.weight_bytes for each in made.layers), rel=0.02)
