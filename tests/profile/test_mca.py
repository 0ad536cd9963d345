"""Seconds of layers from their machine code: by hand, on a board's target and this machine's, and what is said."""

from dataclasses import replace

import pytest

from tests.profile.small_network import save
from tvm_split import extract, frontend, pipeline
from tvm_split.assembly import aarch64, mca
from tvm_split.costs import Costs
from tvm_split.errors import CostError, PlanError
from tvm_split.layer_kernels import lower_layers
from tvm_split.passes.choose_winograd import winograd_steps
from tvm_split.profile import mca as mca_profile
from tvm_split.profile.mca import FACTORS, Clock, Turn, clock_of, cores_in_use, integer_mca_costs, mca_costs, remarks
from tvm_split.profile.multiplications import multiply_adds
from tvm_split.profile.roofline import moved_bytes, roofline
from tvm_split.profile.source import costs_of, integer_costs
from tvm_split.request import Request
from tvm_split.targets import load_target
from tvm_split.tvm_target import resolve


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    mod = pipeline.layers()(frontend.load(save(tmp_path_factory.mktemp("mca"))))
    return mod, extract.graph(mod, "net")


def test_a_layer_by_hand():
    """1,000,000 products, 64 a turn of 20 cycles, on 2 cores of 1 GHz: 15,625 turns, 312,500 cycles, 156.25 us."""
    assert Turn(64, 20.0, 2.0).seconds(1_000_000, Clock(1e9, "")) == pytest.approx(156.25e-6)


def test_multiply_adds_are_those_of_convolutions(network):
    mod, graph = network
    found = multiply_adds(mod, by_definition=True)
    assert list(found.values()) == [9 * ins * outs * 16 * 16 for ins, outs in ((3, 8), (8, 8), (8, 16))]
    assert set(found) == {layer.name for layer in graph.layers}


def test_winograd_has_fewer():
    from tvm_split.assembly.layers import Layer
    from tvm_split.assembly.layers import network as of_layer

    layer = Layer("3x3", "", 64, 64, 28, 28, 3, padding=1)
    mod = pipeline.layers()(of_layer(layer))
    (found,), (direct,) = multiply_adds(mod).values(), multiply_adds(mod, by_definition=True).values()
    assert found == winograd_steps((1, 28, 28), 64, 64) < direct == layer.multiply_adds


def test_seconds_are_turns_times_cycles_on_a_raspberry_pi_4(llvm_mca, network):
    """Worked out again from the layer's own assembly, llvm-mca's cycles and the target's clock."""
    mod, graph = network
    spec = load_target("raspberry-pi-4")
    costs = mca_costs(mod, graph, spec)
    assert (costs.target, costs.source, list(costs.layer_s)) == (spec.name, "mca", [x.name for x in graph.layers])
    import tvm

    target, layer = resolve(spec), graph.layers[2]
    kernel = lower_layers(mod, target, only=[layer.name]).programs[layer.name].kernel
    text = str(tvm.compile(tvm.IRModule({kernel.symbol: kernel.function}), target).mod.inspect_source("asm"))
    loop, counts = aarch64.hot(text)
    spent = mca.cycles(mca.core_of(llvm_mca, "aarch64", "cortex-a72", 128), loop.body)
    turns = multiply_adds(mod)[layer.name] / counts.multiply_adds
    compute_s = turns * spent / 1.5e9 / cores_in_use(kernel.function, 4)
    memory_s = moved_bytes(graph, layer) / spec.memory_bandwidth_bytes_per_s
    assert costs.of(layer.name) == pytest.approx(max(compute_s, memory_s) + 30e-6)
    assert costs.provenance["loops"][layer.name][:2] == [counts.multiply_adds, pytest.approx(spent)]
    assert costs.provenance["core"] == "cortex-a72" and costs.provenance["clock_hz"] == 1.5e9
    low, high = FACTORS[0] / 2, FACTORS[1] * 2
    assert costs.ends_of(layer.name) == pytest.approx((low * costs.of(layer.name), high * costs.of(layer.name)))
    assert Costs.from_json(costs.to_json()) == costs


def test_no_layer_is_faster_than_the_peak_of_the_core(llvm_mca, network):
    mod, graph = network
    spec = replace(load_target("raspberry-pi-4"), layer_overhead_s=0.0)
    costs = mca_costs(mod, graph, spec)
    for name, steps in multiply_adds(mod).items():
        assert costs.of(name) >= 2 * steps / spec.peak_flops_per_s * 0.99


@pytest.mark.parametrize("name", ["host", "c5.xlarge", "raspberry-pi-5"])
def test_every_layer_has_a_loop_on_floats_and_on_integers(llvm_mca, network, name):
    mod, graph = network
    spec = load_target(name)
    costs = mca_costs(mod, graph, spec)
    assert set(costs.provenance["loops"]) == set(costs.layer_s) and costs.provenance["by_roofline"] == {}
    if spec.peak_int8_ops_per_s is None:
        spec = replace(spec, peak_int8_ops_per_s=4 * spec.peak_flops_per_s)
    integers = integer_mca_costs(mod, graph, spec, costs)
    assert set(integers.layer_s) == set(costs.layer_s) and integers.provenance["loops"]
    assert integer_mca_costs(mod, graph, replace(spec, peak_int8_ops_per_s=None), costs) is None


def test_the_source_is_known_by_its_name(llvm_mca, network):
    mod, graph = network
    edge, cloud = load_target("raspberry-pi-4"), load_target("host")
    of_edge, of_cloud, warnings = costs_of("mca", graph, mod, edge, cloud)
    assert (of_edge.source, of_cloud.source) == ("mca", "mca")
    assert "by llvm-mca" in warnings[0] and "0.125 to 3.5 times as long on raspberry-pi-4" in warnings[0]
    assert integer_costs("mca", of_edge, mod, graph, edge).source == "mca"


def test_a_layer_without_a_loop_keeps_its_roofline_and_is_named(llvm_mca, network, monkeypatch):
    mod, graph = network
    monkeypatch.setattr(mca_profile, "_hot", lambda text, arch: None)
    spec = load_target("raspberry-pi-4")
    costs = mca_costs(mod, graph, spec)
    assert costs.layer_s == roofline(graph, spec).layer_s
    (said,) = remarks(costs)
    assert "3 of 3 layers that multiply take what the roofline says" in said and "no loop of its code" in said


def test_a_clock_that_is_not_stated_follows_from_the_peak(llvm_mca):
    spec = replace(load_target("raspberry-pi-4"), clock_hz=None)
    clock = clock_of(spec, mca.core_of(llvm_mca, "aarch64", "cortex-a72", 128))
    assert clock.hz == pytest.approx(1.5e9, rel=0.02) and clock.said.startswith(
        "derived: peak_flops_per_s over 4 cores"
    )


def test_a_core_that_llvm_mca_does_not_know_is_told(llvm_mca, network, monkeypatch):
    mod, graph = network
    monkeypatch.setattr(mca, "known_cores", lambda tool, triple: frozenset({"generic"}))
    costs = mca_costs(mod, graph, load_target("raspberry-pi-4"))
    assert "knows no 'cortex-a72', so its cycles are those of 'generic'" in remarks(costs)[0]


def test_a_tool_that_is_none_is_refused(network, monkeypatch, tmp_path):
    """It fails, and says nothing: every layer would fall back to its roofline unheard."""
    mod, graph = network
    fake = tmp_path / "llvm-mca"
    fake.write_text("#!/bin/sh\nprintf '\\377\\n'\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr(mca, "find_tool", lambda: str(fake))
    with pytest.raises(CostError, match=r"lists no cores of aarch64-linux-gnu \(exit status 3\)"):
        mca_costs(mod, graph, load_target("raspberry-pi-4"))


def test_what_cannot_be_priced_so_is_refused(network, monkeypatch, tmp_path):
    mod, graph = network
    with pytest.raises(CostError, match="'eyeriss' is simulated"):
        mca_costs(mod, graph, load_target("eyeriss"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CostError, match="install Debian's package llvm-22"):
        mca_costs(mod, graph, load_target("raspberry-pi-4"))


def test_a_missing_tool_is_told_before_the_model_is_read(monkeypatch, tmp_path):
    from tvm_split.early import before_reading

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CostError, match="needs llvm-mca"):
        before_reading(Request("no model", costs="mca"))
    with pytest.raises(PlanError, match="'roofline', 'mca', 'measured'"):
        Request("no model", costs="guess")


@pytest.mark.parametrize("tasks, cores, busy", [(1, 4, 1.0), (4, 4, 4.0), (5, 4, 2.5), (8, 4, 4.0)])
def test_cores_that_tasks_leave_idle(tasks, cores, busy):
    from tvm.script import tirx as T

    @T.prim_func(s_tir=True)
    def kernel(x: T.Buffer((64,), "float32")):
        for i in T.parallel(tasks):
            x[i] = T.float32(0)

    assert cores_in_use(kernel, cores) == busy
