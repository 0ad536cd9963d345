"""Cycles and traffic of systolic arrays, by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_split.errors import CostError
from tvm_split.graph import Graph, Layer, Tensor
from tvm_split.profile.layer_shape import LayerShape
from tvm_split.profile.systolic import Traffic, array_of, compute_cycles, systolic_costs, traffic
from tvm_split.targets import load_target
from tvm_split.targets.systolic import SystolicArray

#: 4 x 3 multipliers at 1 kHz, 1 KiB of memory for each operand
ARRAY = SystolicArray(4, 3, "ws", 1, 1, 1, 1e3)
#: 3 x 5 positions, windows of 2 x 2 x 2 = 8, 7 filters
CONV = LayerShape(3, 5, 2, 2, 2, 7)
DATAFLOWS = ("ws", "os", "is")
SIZES = st.integers(1, 40)
SHAPES = st.builds(
    LayerShape, SIZES, SIZES, st.integers(1, 5), st.integers(1, 5), SIZES, SIZES, st.integers(1, 3), st.integers(1, 3),
    st.integers(1, 4),
)  # fmt: skip
ARRAYS = st.builds(SystolicArray, SIZES, SIZES, st.sampled_from(DATAFLOWS), *[st.integers(1, 4)] * 3, st.just(1e3))


@pytest.mark.parametrize(
    ("dataflow", "cycles"),
    [
        ("ws", 2 * 3 * (4 + 15 + 4 + 3 - 2)),  # 8 of a window over 4 rows, 7 filters over 3 columns, 15 positions pass
        ("os", 4 * 3 * (8 + 4 + 3 - 2)),  # 15 positions over 4 rows, 7 filters over 3 columns, 8 of a window pass
        ("is", 2 * 5 * (4 + 7 + 4 + 3 - 2)),  # 8 of a window over 4 rows, 15 positions over 3 columns, 7 filters pass
    ],
)
def test_a_convolution_by_hand(dataflow, cycles):
    array = replace(ARRAY, dataflow=dataflow)
    assert compute_cycles(CONV, array) == cycles
    assert compute_cycles(replace(CONV, groups=5), array) == 5 * cycles


def test_sizes_of_a_strided_convolution():
    shape = LayerShape(7, 5, 3, 1, 4, 6, stride_height=2, stride_width=2, groups=3)
    assert (shape.height, shape.width) == (15, 9)
    assert (shape.positions, shape.window, shape.weights, shape.results) == (35, 12, 72, 210)
    assert shape.input_elements == 15 * 5 * 4  # of each two columns one is jumped over
    assert shape.macs == 3 * 35 * 12 * 6
    assert LayerShape.matmul(10, 20, 30).macs == 6000


@given(SHAPES, ARRAYS)
def test_no_array_is_faster_than_all_its_multipliers(shape, array):
    assert compute_cycles(shape, array) * array.rows * array.cols >= shape.macs


@given(SHAPES, ARRAYS, st.sampled_from(["filters", "channels", "out_height", "kernel_width", "groups"]))
def test_more_work_takes_no_fewer_cycles_and_bytes(shape, array, what):
    more = replace(shape, **{what: getattr(shape, what) + 1})
    assert compute_cycles(more, array) >= compute_cycles(shape, array)
    assert traffic(more, array).weights >= traffic(shape, array).weights


@given(SHAPES, ARRAYS)
def test_every_operand_is_fetched_once_at_least_and_memory_saves(shape, array):
    found = traffic(shape, array)
    assert found.inputs >= shape.groups * shape.input_elements
    assert found.weights >= shape.groups * shape.weights
    assert found.results >= shape.groups * shape.results
    large = replace(array, ifmap_kib=10**6, filter_kib=10**6, ofmap_kib=10**6)
    assert traffic(shape, large) == Traffic(
        shape.groups * shape.input_elements, shape.groups * shape.weights, shape.groups * shape.results
    )
    assert traffic(shape, array, 16).elements >= found.elements  # half as many elements fit


def test_what_does_not_fit_is_fetched_again_by_hand():
    """600 rows of 5, by 5 x 9: with 512 bytes for each operand the inputs do not fit, nor sums of 600 x 3."""
    shape = LayerShape.matmul(600, 5, 9)
    assert traffic(shape, ARRAY) == Traffic(3 * 3000, 45, 5400 * (2 * 2 - 1))  # 3 folds of columns, 2 of rows
    assert traffic(shape, replace(ARRAY, dataflow="os")) == Traffic(3 * 3000, 45, 5400)
    assert traffic(shape, replace(ARRAY, dataflow="is")) == Traffic(3000, 45, 5400)
    assert traffic(shape, replace(ARRAY, ifmap_kib=6, ofmap_kib=4)) == Traffic(3000, 45, 5400)


SPEC = replace(load_target("eyeriss"), systolic=ARRAY, memory_bandwidth_bytes_per_s=1e3)


def network() -> Graph:
    """x -> 1x1 convolution of 4 rows, 3 channels in and 3 out, and z added -> y -> pool"""
    return Graph(
        "one",
        (
            Tensor("x", (12,), "float32"), Tensor("z", (12,), "uint8"), Tensor("y", (12,), "float32"),
            Tensor("p", (1,), "float32"),
        ),
        (Layer("conv", "conv2d", ("x", "z"), ("y",), 72, 36), Layer("pool", "max_pool2d", ("y",), ("p",), 12)),
        ("x", "z"),
        ("p",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "expected_s"),
    [
        (8, (12 + 12 + 9 + 12) / 1e3),  # x, z, weights, results; 1 fold of 4 + 4 + 4 + 3 - 2 = 13 cycles is less
        (4, (6 + 6 + 4.5 + 6) / 1e3),
        (32, (48 + 12 + 36 + 48) / 1e3),  # z has no more than 8 bits; 4 passes of 13 cycles are less
    ],
)
def test_a_layer_waits_for_its_traffic(bits, expected_s):
    costs = systolic_costs(network(), {"conv": LayerShape.matmul(4, 3, 3)}, SPEC, bits)
    assert costs.of("conv") == pytest.approx(expected_s)
    assert costs.of("pool") == pytest.approx(12 * bits / 8 / 1e3)
    assert (costs.target, costs.source) == ("eyeriss", "systolic")


@pytest.mark.parametrize(("bits", "passes"), [(2, 1), (8, 1), (16, 2), (32, 4)])
def test_a_layer_that_has_its_bytes_takes_its_cycles(bits, passes):
    fast = replace(SPEC, memory_bandwidth_bytes_per_s=1e9)
    costs = systolic_costs(network(), {"conv": LayerShape.matmul(4, 3, 3)}, fast, bits)
    assert costs.of("conv") == pytest.approx(passes * 13 / 1e3)


def test_costs_take_the_cycles_that_they_are_told():
    asked = []

    def told(shape: LayerShape, array: SystolicArray) -> int:
        asked.append((shape, array))
        return 1000

    shape = LayerShape.matmul(4, 3, 3)
    costs = systolic_costs(network(), {"conv": shape}, SPEC, 8, "scalesim", told)
    assert (costs.of("conv"), costs.source, asked) == (1.0, "scalesim", [(shape, ARRAY)])


def test_a_target_without_an_array_is_named():
    with pytest.raises(CostError, match=r"target 'raspberry-pi-4' has no table \[systolic\].*eyeriss, tpu"):
        array_of(load_target("raspberry-pi-4"))


@pytest.mark.parametrize("name", ["eyeriss", "tpu"])
def test_the_arrays_have_the_rates_of_their_targets(name):
    spec = load_target(name)
    array = array_of(spec)
    assert 2 * array.rows * array.cols * array.clock_hz == pytest.approx(spec.peak_int8_ops_per_s, rel=1e-6)
