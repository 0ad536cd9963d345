"""Cycles of the Auto-Split paper's chips, by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.profile.mac_array import EYERISS, TPU, MacArray, array_costs
from tvm_split.targets import load_target

#: ten multipliers at 1 kHz, 1 kB/s, tiles of 4 channels, 2 sums a cycle: seconds can be worked out in the head
ARRAY = MacArray("slate", 10, 1e3, 1e3, 4, 2)


def network(channels: int = 12, results: int = 6, elements: int = 24) -> Graph:
    """x -> conv of 1x1 -> y -> pool -> z"""
    return Graph(
        "one",
        (Tensor("x", (elements,), "float32"), Tensor("y", (results,), "float32"), Tensor("z", (1,), "float32")),
        (
            Layer("conv", "conv2d", ("x",), ("y",), 2 * channels * results, 4 * 100),
            Layer("pool", "max_pool2d", ("y",), ("z",), results),
        ),
        ("x",),
        ("z",),
    )


@pytest.mark.parametrize(
    ("weight_bits", "bits", "expected_s"),
    [
        (8, 8, 0.100 + 0.024),  # the input takes longer than 7.2 cycles and 6 sums
        (4, 8, 0.050 + 0.024),
        (2, 4, 0.025 + 0.0132),  # 12 bytes of input: the arithmetic takes longer, and not less than at 8 bits
        (16, 16, 0.200 + 0.048),
    ],
)
def test_a_convolution_by_hand(weight_bits, bits, expected_s):
    found = array_costs(network(), {"conv": 12}, ARRAY, weight_bits, bits)
    assert found.of("conv") == pytest.approx(expected_s)


def test_sixteen_bits_multiply_twice_and_add_once():
    graph = network(elements=0)
    assert array_costs(graph, {"conv": 12}, ARRAY, 8, 8).of("conv") == pytest.approx(0.1 + 0.0072 + 0.006)
    assert array_costs(graph, {"conv": 12}, ARRAY, 8, 16).of("conv") == pytest.approx(0.1 + 2 * 0.0072 + 0.006)


@pytest.mark.parametrize(("channels", "sums"), [(1, 0), (4, 0), (5, 1), (12, 2)])
def test_each_tile_of_channels_but_the_first_is_added(channels, sums):
    found = array_costs(network(channels, elements=0), {"conv": channels}, ARRAY, 8, 8)
    assert found.of("conv") == pytest.approx(0.1 + channels * 6 / 10 / 1e3 + sums * 6 / 2 / 1e3)


def test_layers_without_weights_take_what_they_read():
    assert array_costs(network(), {"conv": 12}, ARRAY, 8, 8).of("pool") == pytest.approx(0.006)
    assert array_costs(network(), {"conv": 12}, ARRAY, 8, 4).of("pool") == pytest.approx(0.003)


@given(bits=st.sampled_from((2, 4, 6, 8)), channels=st.integers(1, 300), results=st.integers(1, 500))
def test_fewer_than_8_bits_only_save_traffic(bits, channels, results):
    """Fact 11 of the paper's code: without input to wait for, nothing is saved but seconds of the weights."""
    graph = network(channels, results, elements=0)
    narrow = array_costs(graph, {"conv": channels}, ARRAY, bits, bits).of("conv")
    wide = array_costs(graph, {"conv": channels}, ARRAY, 8, 8).of("conv")
    assert wide - narrow == pytest.approx(0.1 * (8 - bits) / 8)


@pytest.mark.parametrize("array", [EYERISS, TPU], ids=lambda array: array.name)
def test_the_arrays_have_the_rates_of_the_targets(array):
    spec = load_target(array.name)
    assert 2 * array.macs * array.clock_hz == pytest.approx(spec.peak_int8_ops_per_s, rel=1e-6)
    assert array.memory_bytes_per_s == spec.memory_bandwidth_bytes_per_s


def test_what_winograds_algorithm_adds_to_the_weights_does_not_come_to_the_array():
    graph = network()
    stored = replace(graph.layers[0], weight_bytes=4 * 100 + 300, winograd_bytes=300)
    more = replace(graph, layers=(stored, *graph.layers[1:]))
    assert array_costs(more, {"conv": 12}, ARRAY, 8, 8) == array_costs(graph, {"conv": 12}, ARRAY, 8, 8)
