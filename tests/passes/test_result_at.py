"""Where the network's outputs are wanted: bytes as the planner counts them, and the whole network's numbers."""

import numpy as np
import pytest
from tvm import relax

from tvm_split import extract
from tvm_split.costs import Costs
from tvm_split.passes.assign_cut import AssignCut
from tvm_split.passes.fuse_activation import FuseActivation
from tvm_split.passes.pack_cut import PackCut, read_layout
from tvm_split.passes.partition import Partition, side_outputs
from tvm_split.passes.quantize_cut import QuantizeCut
from tvm_split.plan.evaluate import evaluate
from tvm_split.plan.problem import Link, Problem
from tvm_split.quantizer import Quantizer

SHAPE = (1, 2, 3, 5)
ORDER = ["a", "h", "k", "i", "f", "b", "y"]
#: name -> layers on the edge, from cloud-only to edge-only
CUTS = {"none": (), "a": "a", "h": "ah", "i": "ahki", "branch": "ahkb", "all": ORDER}


@pytest.fixture
def network(build):
    """a -> h -> b -> y with branches a -> k -> y and h -> i (integers) -> f -> y; returns the tensors named."""

    def make(outputs):
        def body(emit, x):
            random = np.random.default_rng(0)
            weights = [relax.const(random.standard_normal((2, 2, 3, 3)).astype("float32")) for _ in range(2)]
            values = {"x": x}

            def layer(name, value):
                values[name] = emit(value, name)
                return values[name]

            a = layer("a", relax.op.nn.conv2d(x, weights[0], padding=1))
            h = layer("h", relax.op.nn.max_pool2d(a, (3, 3), padding=(1, 1)))
            k = layer("k", relax.op.nn.avg_pool2d(a, (3, 3), padding=(1, 1)))
            i = layer("i", relax.op.argmax(h, axis=1, keepdims=True))
            f = layer("f", relax.op.astype(i, "float32"))
            b = layer("b", relax.op.nn.conv2d(h, weights[1], padding=1))
            layer("y", relax.op.concat([b, k, f], axis=1))
            return relax.Tuple([values[name] for name in outputs])

        mod = FuseActivation()(build(body, SHAPE))
        assert [layer.name for layer in extract.graph(mod).layers] == ORDER
        return mod

    return make


def planned(mod, edge, result_at, bits):
    """What the planner says of the cut, and the module with the cut's floats quantised to `bits` (32: as they are)."""
    graph = extract.graph(mod)
    costs = Costs("t", "test", {layer.name: 1.0 for layer in graph.layers})
    problem = Problem(graph, costs, costs, Link("l", 1.0, 1.0), cut_bits=(bits,), result_at=result_at)
    made = [tensor.name for tensor in graph.tensors if tensor.is_float and tensor.name not in graph.inputs]
    quantizers = {name: Quantizer.of_range(bits, -9, 9) for name in made} if bits < 32 else {}
    return evaluate(problem, edge, bits), QuantizeCut(quantizers)(AssignCut(edge, result_at)(mod))


@pytest.mark.parametrize("bits", [32, 3])
@pytest.mark.parametrize("result_at", ["edge", "cloud"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("outputs", ["yh", "hxiyh"])
def test_the_payload_is_as_large_as_planned(apply_once, network, outputs, cut, result_at, bits):
    candidate, marked = planned(network(outputs), CUTS[cut], result_at, bits)
    if not candidate.crossing:
        assert (cut, result_at) == ("all", "edge")
        assert read_layout(PackCut()(marked)) == ()
        return
    packed = apply_once(PackCut(), marked)
    parts = read_layout(packed)
    assert sum(part.size_bytes for part in parts) == candidate.payload_bytes
    assert {part.tensor: part.bits for part in parts} == {part.tensor: part.bits for part in candidate.crossing}
    crossing, at_edge, _ = side_outputs(packed)
    assert crossing == ("payload",) and (result_at == "edge" or not at_edge)


@pytest.mark.parametrize("bits", [32, 3])
@pytest.mark.parametrize("result_at", ["edge", "cloud"])
@pytest.mark.parametrize("cut", CUTS)
def test_edge_then_cloud_is_the_whole(network, run_layers, run_halves, cut, result_at, bits):
    mod = network("hxiyh")
    candidate, marked = planned(mod, CUTS[cut], result_at, bits)
    x = np.random.default_rng(1).standard_normal(SHAPE).astype("float32")
    whole = run_layers(mod, x)
    quantized = run_layers(marked, x) if bits < 32 else whole
    got = run_halves(PackCut()(marked) if candidate.crossing else marked, x)
    for name, ours, exact, want in zip("hxiyh", got, whole, quantized, strict=True):
        assert ours.tobytes() == want.tobytes()
        if name in ("x", *CUTS[cut]):
            assert ours.tobytes() == exact.tobytes(), "what the edge makes is never quantised"


def test_the_halves_of_an_edge_only_cut(network):
    marked = AssignCut(ORDER, "cloud")(network("yh"))
    edge, cloud = (Partition(side)(PackCut()(marked)) for side in ("edge", "cloud"))
    assert [layer.name for layer in extract.graph(edge).layers] == [*ORDER, "payload"]
    assert extract.graph(edge).outputs == ("payload",)
    assert [layer.op for layer in extract.graph(cloud).layers] == ["unpack", "unpack"]
    assert extract.graph(cloud).outputs == ("payload_y", "payload_h")


def test_parts_of_a_tuple(build, run_layers, run_halves):
    """Both parts of a split cross: s.0, which is an output too, as it is; s.1 quantised."""

    def body(emit, x):
        s = emit(relax.op.split(x, 2, axis=1), "s")
        return relax.Tuple([emit(relax.op.concat(s, axis=1), "y"), relax.TupleGetItem(s, 0)])

    mod = FuseActivation()(build(body, (1, 4, 3)))
    quantizers = {"s.0": Quantizer.of_range(2, -1, 1), "s.1": Quantizer.of_range(4, -1, 1)}
    packed = PackCut()(QuantizeCut(quantizers)(AssignCut({"s"}, "cloud")(mod)))
    assert {part.tensor: part.bits for part in read_layout(packed)} == {"s.0": 32, "s.1": 4}
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3)).astype("float32")
    y, part = run_halves(packed, x)
    np.testing.assert_array_equal(part, x[:, :2])
    np.testing.assert_array_equal(y[:, :2], x[:, :2])
    assert 0 < np.abs(y - x)[:, 2:].max() <= 2 / 15 / 2 + 1e-6
    np.testing.assert_array_equal(y, run_layers(packed, x)[0])


def test_a_whole_tuple_is_the_result(build, run_layers, run_halves):
    mod = FuseActivation()(build(lambda emit, x: relax.op.split(x, 2, axis=1), (1, 4, 3)))
    (layer,) = extract.graph(mod).layers
    packed = PackCut()(AssignCut({layer.name}, "cloud")(mod))
    assert [part.tensor for part in read_layout(packed)] == [f"{layer.name}.0", f"{layer.name}.1"]
    x = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3)).astype("float32")
    np.testing.assert_array_equal(run_halves(packed, x), run_layers(mod, x))
