"""What the planners are compared with, by hand and against the exact planner."""

from dataclasses import replace

import pytest

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.plan.baselines import baselines, cloud_only, neurosurgeon, qdmp, qdmp_quantised, uniform
from tvm_split.plan.exact import plan_exact
from tvm_split.plan.precision import Precision
from tvm_split.plan.problem import Link, Problem


@pytest.fixture
def residual():
    """x -> a -> b -> add(a, b) -> head: after b two tensors cross, a large and a small one."""
    sizes = {"x": 1000, "a": 900, "b": 10, "s": 300, "y": 4}
    tensors = tuple(Tensor(name, (size,), "float32") for name, size in sizes.items())
    layers = (
        Layer("a", "conv2d", ("x",), ("a",), 0, 4 * 500),
        Layer("b", "conv2d", ("a",), ("b",), 0, 4 * 500),
        Layer("s", "add", ("a", "b"), ("s",)),
        Layer("y", "dense", ("s",), ("y",), 0, 4 * 1000),
    )
    names = ("a", "b", "s", "y")
    table = {2: 1.0, 4: 0.25, 8: 0.01}
    precision = Precision(
        widths=(2, 4, 8),
        weight_matrix={"a": (10, 50), "b": (10, 50), "y": (4, 250)},
        weight_distortion=dict.fromkeys("aby", table),
        tensor_distortion=dict.fromkeys(("x", *names), table),
        integer=Costs("edge", "test", dict.fromkeys(names, 0.005)),
    )
    return Problem(
        Graph("residual", tensors, layers, ("x",), ("y",)),
        Costs("edge", "test", dict.fromkeys(names, 0.01) | {"y": 0.03}),
        Costs("cloud", "test", dict.fromkeys(names, 0.001)),
        Link("link", 1e5, 1e6),
        cut_bits=(2, 4, 8),
        precision=precision,
    )


def test_uniform_is_edge_only_at_one_width(residual):
    for bits in (2, 4, 8):
        found = uniform(residual, bits)
        assert found.kind == "edge-only" and set(found.weight_bits.values()) == set(found.tensor_bits.values()) == {
            bits
        }
        assert found.distortion == pytest.approx(6 * {2: 1.0, 4: 0.25, 8: 0.01}[bits])
        assert found.predicted.total_s == pytest.approx(0.01 + 3 * 0.005), "the frame is no integer tensor"
    assert uniform(residual, 2).edge_memory_bytes < uniform(residual, 8).edge_memory_bytes


def test_cloud_only_sends_a_raw_frame(residual):
    found = cloud_only(residual)
    assert [(part.bits, part.size_bytes) for part in found.crossing] == [(8, 1000)]
    assert found.predicted.uplink_s == pytest.approx(0.01) and found.distortion == 0
    assert found.predicted.cloud_s == pytest.approx(0.004)
    assert found.predicted.downlink_s == pytest.approx(16 / 1e6)


def test_cloud_only_sends_integers_as_they_are(residual):
    tensors = tuple(replace(t, dtype="int32") if t.name == "x" else t for t in residual.graph.tensors)
    precision = replace(residual.precision, tensor_distortion={})
    problem = replace(residual, graph=replace(residual.graph, tensors=tensors), precision=precision)
    assert [(part.bits, part.size_bytes) for part in cloud_only(problem).crossing] == [(32, 4000)]


def test_neurosurgeon_chooses_by_its_own_tensor_and_pays_for_all(residual):
    """After b it counts 40 bytes and pays for 3640."""
    found = neurosurgeon(residual)
    assert found.edge_layers == ("a", "b")
    assert found.payload_bytes == 4 * (900 + 10) and found.predicted.uplink_s == pytest.approx(0.0364)
    assert not found.weight_bits and not found.tensor_bits and found.distortion == 0
    narrow = neurosurgeon(residual, 8)
    assert narrow.distortion == pytest.approx(0.01 * len(narrow.crossing))


def test_qdmp_pays_for_all_and_is_quantised_afterwards(residual):
    found = qdmp(residual)
    assert found.edge_layers == ("a", "b", "s")
    assert found.predicted.total_s == pytest.approx(0.03 + 0.012 + 0.001 + 16 / 1e6)
    large = replace(residual.graph.layers[1], weight_bytes=4 * 5000)  # it is on integers, as its data can be
    layers = (residual.graph.layers[0], large, *residual.graph.layers[2:])
    precision = replace(residual.precision, weight_matrix={**residual.precision.weight_matrix, "b": (10, 500)})
    residual = replace(residual, graph=replace(residual.graph, layers=layers), precision=precision)
    sizes = {
        bits: qdmp_quantised(replace(residual, precision=replace(residual.precision, widths=(bits,))))
        for bits in (2, 4, 8)
    }
    assert qdmp_quantised(residual) == sizes[8]
    for bits in (4, 2):
        limited = replace(residual, memory_bytes=sizes[bits].edge_memory_bytes)
        assert qdmp_quantised(limited) == sizes[bits], "narrowed until it fits"
    assert qdmp_quantised(replace(residual, memory_bytes=1)) == sizes[2], "the narrowest, though it does not fit"
    assert {part.bits for part in sizes[4].crossing} == {4} and set(sizes[4].weight_bits.values()) == {4}


def test_the_table_leaves_out_what_cannot_be(residual):
    assert set(baselines(residual)) == {"U2", "U4", "U8", "cloud-only 16", "Neurosurgeon", "QDMP", "QDMP quantised"}
    assert "cloud-only 16" not in baselines(replace(residual, pins={"a": "edge"}))
    assert "U8" not in baselines(replace(residual, pins={"y": "cloud"}))


def test_exact_is_never_later_than_a_baseline_of_its_own_choices(make_mixed):
    """A baseline may use widths that are no choice; those that do not are never sooner."""
    compared = 0
    for seed in range(100):
        problem = make_mixed(seed, 7)
        problem = replace(problem, cut_bits=tuple(sorted({*problem.cut_bits, 32})))
        best = plan_exact(problem)[0].predicted.total_s
        for name in ("Neurosurgeon", "QDMP"):
            found = baselines(replace(problem, precision=replace(problem.precision, fixed={}))).get(name)
            if found is not None and 32 in problem.precision.widths and not problem.precision.fixed:
                compared += 1
                assert best <= found.predicted.total_s * (1 + 1e-7), f"seed {seed}, {name}"
    assert compared > 30
