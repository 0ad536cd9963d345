"""Costs of a real network on the simulated chips, as the command line asks for them."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from tvm_split.costs import SIMULATED
from tvm_split.errors import CostError
from tvm_split.profile.accelerators import accelerator_costs
from tvm_split.profile.read_shapes import layer_shapes
from tvm_split.profile.source import costs_of, integer_costs
from tvm_split.targets import load_target
from tvm_split.workflow import Request, prepare

EYERISS, TPU = load_target("eyeriss"), load_target("tpu")


@pytest.fixture(scope="module")
def network():
    return prepare(Request("zoo:ppocr-cls"))


@pytest.mark.parametrize("source", ["systolic", "array"])
def test_every_layer_has_a_cost_that_is_no_less_than_the_rooflines_arithmetic(network, source):
    mod, graph = network
    edge, cloud, warnings = costs_of(source, graph, mod, EYERISS, TPU)
    shapes = layer_shapes(mod)
    for costs, spec in ((edge, EYERISS), (cloud, TPU)):
        assert (costs.target, costs.source, set(costs.layer_s)) == (spec.name, source, set(graph.layer))
        for layer, shape in shapes.items():
            assert costs.of(layer) >= 2 * shape.macs / spec.peak_flops_per_s * (1 - 1e-6)
    assert any(source in text and "8 bits in a pass" in text for text in warnings)


def test_depth_wise_convolutions_are_what_a_systolic_array_is_bad_at(network):
    mod, graph = network
    costs = accelerator_costs("systolic", mod, graph, EYERISS)
    deep = {layer: shape for layer, shape in layer_shapes(mod).items() if shape.groups > 1}
    assert deep
    for layer, shape in deep.items():  # one column of 14 is used
        assert costs.of(layer) > 14 * 2 * shape.macs / EYERISS.peak_flops_per_s


@pytest.mark.parametrize("source", ["systolic", "array"])
def test_integers_take_a_quarter_of_the_cycles(network, source):
    mod, graph = network
    floats = accelerator_costs(source, mod, graph, EYERISS)
    integers = integer_costs(source, floats, mod, graph, EYERISS)
    assert integers is not None and integers.provenance["bits"] == 8
    assert all(integers.of(name) <= floats.of(name) for name in graph.layer)
    assert sum(integers.layer_s.values()) < sum(floats.layer_s.values()) / 2


@pytest.mark.parametrize("source", ["systolic", "array"])
def test_edited_costs_of_an_array_reach_its_integers(network, source):
    mod, graph = network
    files = (Path("edge.json"), Path("cloud.json"))
    floats = accelerator_costs(source, mod, graph, EYERISS)
    slow = replace(floats, layer_s={name: 10 * seconds for name, seconds in floats.layer_s.items()})
    plain, same, scaled = (
        integer_costs(where, costs, mod, graph, EYERISS).layer_s
        for where, costs in ((source, floats), (files, floats), (files, slow))
    )
    assert same == plain and scaled == pytest.approx({name: 10 * seconds for name, seconds in plain.items()})


def test_costs_of_another_target_are_scaled_as_measured_ones(network):
    """A file of systolic costs, read for a processor: no array is looked for."""
    mod, graph = network
    floats = accelerator_costs("systolic", mod, graph, EYERISS)
    board = load_target("raspberry-pi-4")
    scaled = integer_costs((Path("edge.json"), Path("cloud.json")), floats, mod, graph, board)
    assert scaled is not None and scaled.provenance["integers"] == "scaled by the roofline"


def test_the_simulator_gives_the_costs_of_the_closed_form(network, tmp_path, monkeypatch):
    pytest.importorskip("scalesim")
    monkeypatch.setenv("TVM_SPLIT_CACHE", str(tmp_path))
    mod, graph = network
    closed, simulated = (accelerator_costs(source, mod, graph, EYERISS, 8) for source in ("systolic", "scalesim"))
    assert (simulated.source, simulated.provenance["scalesim"]) == ("scalesim", version("scalesim"))
    for layer in graph.layer:
        assert simulated.of(layer) == pytest.approx(closed.of(layer), rel=1e-9)


@pytest.mark.parametrize("source", SIMULATED)
def test_a_target_that_is_no_such_accelerator_is_named(network, source):
    if source == "scalesim":
        pytest.importorskip("scalesim")
    mod, graph = network
    board = load_target("raspberry-pi-4")
    with pytest.raises(CostError, match=r"target 'raspberry-pi-4' has no (table|tile schedule)"):
        costs_of(source, graph, mod, EYERISS, board)
    if source == "array":
        with pytest.raises(CostError, match="--costs array knows eyeriss and tpu alone"):
            accelerator_costs(source, mod, graph, replace(EYERISS, name="mine"))
