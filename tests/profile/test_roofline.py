from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.costs import Costs
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.profile.roofline import FACTORS, factors_of, integer_roofline, moved_bytes, roofline
from tvm_split.targets import TargetSpec, host, load_target, target_names

#: 1 Gflop/s reached, 1 MB/s, 1 ms: seconds can be worked out in the head
TARGET = TargetSpec(
    name="slate", description="round numbers", kind="edge", arch="simulated", cores=1, peak_flops_per_s=4e9,
    memory_bandwidth_bytes_per_s=1e6, layer_overhead_s=1e-3, efficiency=0.25,
)  # fmt: skip


def graph(flops: int = 0, weight_bytes: int = 0) -> Graph:
    """x -> conv -> y; add reads y twice and x once."""
    return Graph(
        name="two",
        tensors=(Tensor("x", (1, 250), "float32"), Tensor("y", (1, 500), "uint8"), Tensor("z", (1, 125), "int64")),
        layers=(
            Layer("conv", "conv2d", ("x",), ("y",), flops, weight_bytes),
            Layer("add", "add", ("y", "y", "x"), ("z",)),
        ),
        inputs=("x",),
        outputs=("z",),
    )


def test_bytes_are_weights_and_each_distinct_tensor_once():
    two = graph(weight_bytes=3_000)
    assert moved_bytes(two, two.layer["conv"]) == 3_000 + 4 * 250 + 500
    assert moved_bytes(two, two.layer["add"]) == 500 + 4 * 250 + 8 * 125


def test_a_layer_bound_by_arithmetic():
    assert roofline(graph(flops=2_000_000_000), TARGET).of("conv") == pytest.approx(2.0 + 1e-3)


def test_a_layer_bound_by_memory():
    costs = roofline(graph(flops=4_000_000, weight_bytes=498_500), TARGET)
    assert costs.of("conv") == pytest.approx(0.5 + 1e-3)  # 500,000 bytes; its arithmetic takes 4 ms
    assert costs.of("add") == pytest.approx(2.5e-3 + 1e-3)


def test_resnet_stem_on_a_raspberry_pi_4():
    """conv 7x7, 3 -> 64, 224 -> 112: 2 x 118,013,952 operations at 24 GFLOP/s = 9.83 ms, above its bytes."""
    stem = Graph(
        "stem",
        (Tensor("x", (1, 3, 224, 224), "float32"), Tensor("y", (1, 64, 112, 112), "float32")),
        (Layer("conv", "conv2d", ("x",), ("y",), flops=2 * 118_013_952, weight_bytes=4 * 9_408),),
        ("x",),
        ("y",),
    )
    assert roofline(stem, load_target("raspberry-pi-4")).of("conv") == pytest.approx(9.835e-3 + 30e-6, rel=1e-3)


@pytest.mark.parametrize("name", target_names())
def test_every_target_prices_every_layer_and_the_costs_survive_json(name):
    costs = roofline(graph(flops=1_000_000, weight_bytes=1_000), load_target(name))
    assert (costs.target, costs.source) == (name, "roofline")
    assert set(costs.layer_s) == {"conv", "add"} and all(seconds > 0 for seconds in costs.layer_s.values())
    assert Costs.from_json(costs.to_json()) == costs
    assert costs.provenance["efficiency"] == load_target(name).efficiency


@given(st.integers(0, 10**15), st.integers(0, 10**12), st.floats(1.0, 100.0))
def test_more_work_never_costs_less_and_a_faster_target_never_more(flops, weight_bytes, factor):
    cost = roofline(graph(flops, weight_bytes), TARGET).of("conv")
    assert cost <= roofline(graph(flops * 2, weight_bytes * 2), TARGET).of("conv")
    faster = replace(TARGET, peak_flops_per_s=4e9 * factor, memory_bandwidth_bytes_per_s=1e6 * factor)
    assert roofline(graph(flops, weight_bytes), faster).of("conv") <= cost


def test_integers_are_a_byte_each_and_have_a_rate_of_their_own():
    target = replace(TARGET, peak_int8_ops_per_s=16e9)
    assert integer_roofline(graph(flops=2_000_000_000), target).of("conv") == pytest.approx(0.5 + 1e-3)
    light = integer_roofline(graph(weight_bytes=1_000_000), target)
    assert light.of("conv") == pytest.approx((250_000 + 250 + 500) / 1e6 + 1e-3)
    assert light.of("add") == pytest.approx((500 + 250 + 8 * 125) / 1e6 + 1e-3)


def test_every_layer_has_an_interval_that_is_wider_where_nobody_timed(monkeypatch):
    target = replace(TARGET, peak_int8_ops_per_s=16e9)
    for costs in (roofline(graph(flops=4), target), integer_roofline(graph(flops=4), target)):
        low, high = FACTORS[0] / 2, FACTORS[1] * 2
        for name, seconds in costs.layer_s.items():
            assert costs.ends_of(name) == pytest.approx((low * seconds, high * seconds))
    monkeypatch.setattr(host, "processor", lambda: "AMD EPYC 9B45")
    assert factors_of(replace(target, name="host"), FACTORS) == FACTORS
    monkeypatch.setattr(host, "processor", lambda: "Intel(R) Xeon(R) Processor")
    assert factors_of(replace(target, name="host"), FACTORS) == (low, high)
    assert factors_of(load_target("c5.xlarge"), FACTORS) == (low, high)


def test_a_target_without_a_rate_of_integers():
    assert integer_roofline(graph(), TARGET) is None
