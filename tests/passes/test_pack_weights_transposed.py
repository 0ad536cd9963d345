"""Transposed convolutions: packed, scheduled and compiled as in a network, against their definition in float64."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.kernels.conv2d_transpose import pack_transposed
from tvm_split.passes.pack_weights import PackWeights

UNIT = 2.0**-24  # what rounding to float32 loses of a number, relative


def network(x, w, bias, **attrs):
    """Transposed convolution, bias and ReLU, as a frontend gives them; the axes are one or two."""
    rank = x.ndim - 2
    make = relax.op.nn.conv1d_transpose if rank == 1 else relax.op.nn.conv2d_transpose
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType(x.shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            made = builder.emit(make(data, relax.const(w), **attrs))
            biased = builder.emit(relax.op.add(made, relax.const(bias.reshape(-1, *[1] * rank))))
            out = builder.emit_output(relax.op.nn.relu(biased))
        builder.emit_func_output(out)
    return builder.get()


def defined(x, w, shape, strides, padding, dilation, groups):
    """What each element of the data adds to the result; and the same of magnitudes."""
    found = np.zeros((2, *shape))
    rank, inner, outer = x.ndim - 2, x.shape[1] // groups, w.shape[1]
    for place, tap in product(product(*map(range, x.shape[2:])), product(*map(range, w.shape[2:]))):
        to = tuple(
            i * s + k * d - p for i, s, k, d, p in zip(place, strides, tap, dilation, padding[:rank], strict=True)
        )
        if any(t < 0 or t >= extent for t, extent in zip(to, shape[2:], strict=True)):
            continue
        for g in range(groups):
            read = x[:, g * inner : (g + 1) * inner][(..., *place)].astype("float64")
            weight = w[g * inner : (g + 1) * inner][(..., *tap)].astype("float64")
            o = slice(g * outer, (g + 1) * outer)
            found[0][:, o][(..., *to)] += read @ weight
            found[1][:, o][(..., *to)] += np.abs(read) @ np.abs(weight)
    return found


def check(check_bits, size, inner, outer, kernel, strides, padding, dilation, extra, groups=1, batch=1, seed=0):
    """`inner` and `outer` are channels of a group; `extra` is the output padding, made less than the stride."""
    rng = np.random.default_rng(seed)
    extra = [min(e, s - 1) for e, s in zip(extra, strides, strict=True)]
    x = rng.standard_normal((batch, inner * groups, *size)).astype("float32")
    w = rng.standard_normal((inner * groups, outer, *kernel)).astype("float32")
    bias = rng.standard_normal(outer * groups).astype("float32")
    attrs = {"strides": strides, "padding": padding, "dilation": dilation, "output_padding": extra, "groups": groups}
    mod = network(x, w, bias, **attrs)
    shape = [int(extent) for extent in mod["main"].ret_ty.shape.values]
    exact, magnitude = defined(x, w, shape, strides, padding, dilation, groups)
    wide = bias.reshape(-1, *[1] * len(size))
    bound = (w[:, 0].size // groups + 2) * UNIT * 1.01 * (magnitude + np.abs(wide))
    check_bits(mod, (x,), np.maximum(exact + wide, 0), bound)


CASES = {
    "segmentation": ((7, 9), 16, 24, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0)),
    "four_by_four": ((7, 6), 12, 40, (4, 4), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0)),
    "three_by_three": ((5, 9), 8, 33, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1)),
    "odd_result": ((6, 6), 5, 16, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0)),
    "one_channel": ((10, 11), 6, 1, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0)),
    "kernel_below_stride": ((4, 5), 4, 8, (2, 1), (3, 2), (0, 0, 0, 0), (1, 1), (1, 1)),
    "stride_1_dilated": ((9, 8), 8, 16, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), (0, 0)),
    "cut_on_all_sides": ((6, 5), 4, 8, (3, 3), (1, 1), (3, 3, 3, 3), (1, 1), (0, 0)),
    "dilated": ((5, 6), 4, 8, (3, 2), (2, 2), (1, 0, 1, 0), (2, 3), (0, 1)),
    "uneven_padding": ((5, 6), 4, 12, (5, 4), (2, 3), (2, 0, 1, 3), (1, 1), (0, 0)),
    "points_of_two_channels": ((9, 37), 12, 2, (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0)),
    "points_of_a_row": ((41,), 12, 1, (4,), (4,), (0, 0), (1,), (0,)),
    "row": ((13,), 16, 20, (4,), (2,), (1, 1), (1,), (0,)),
    "long_row": ((9,), 8, 12, (16,), (8,), (4, 4), (1,), (0,)),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_sum_of_what_the_data_add(check_bits, case):
    check(check_bits, *CASES[case])


@pytest.mark.parametrize("groups, outer", [(3, 8), (2, 4), (4, 1), (6, 3)])
def test_groups_packed_or_not(check_bits, groups, outer):
    check(check_bits, (4, 5), 2, outer, (3, 4), (2, 2), (1, 1, 1, 1), (1, 1), (1, 0), groups, batch=2)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_shape(check_bits, data):
    rank = data.draw(st.integers(1, 2))
    several = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    size, kernel, strides, dilation = several(1, 7), several(1, 5), several(1, 4), several(1, 2)
    around = tuple(data.draw(st.integers(0, k)) for k in kernel * 2)
    made = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, strides, kernel, dilation, strict=True)]
    if any(extent - around[i] - around[rank + i] < 1 for i, extent in enumerate(made)):
        around = (0,) * (2 * rank)
    inner, outer, batch = (data.draw(st.integers(1, high)) for high in (9, 40, 2))
    seed = data.draw(st.integers(0, 99))
    check(check_bits, size, inner, outer, kernel, strides, around, dilation, several(0, 3), 1, batch, seed)


@pytest.mark.parametrize("outer, kernel, attrs", [(24, 3, {"padding": 1, "output_padding": 1}), (1, 2, {})])
def test_the_rule_takes_them_on_every_processor(processors, scheduled, outer, kernel, attrs):
    shape = ((1, 16, 14, 14), (16, outer, kernel, kernel), (outer,))
    x, w, bias = (np.ones(extents, "float32") for extents in shape)
    for target in processors.values():
        assert "TransposedConvolution" in dict(scheduled(network(x, w, bias, strides=2, **attrs), target))


def test_each_phase_has_its_elements_of_the_kernel():
    weight = np.arange(1.0, 11.0).reshape(5, 1, 2)  # [K][I][O]
    packed = pack_transposed(weight, [2], [1], 4)
    assert packed.shape == (2, 1, 3, 1, 4)  # [S][tiles][taps][I][T]
    np.testing.assert_array_equal(packed[0, 0, :, 0, :2], [[3, 4], [7, 8], [0, 0]])  # elements 1, 3
    np.testing.assert_array_equal(packed[1, 0, :, 0, :2], [[1, 2], [5, 6], [9, 10]])  # elements 0, 2, 4
    assert not packed[..., 2:].any()


@pytest.mark.parametrize(
    "weight, reason",
    [(None, "no constant weights"), (np.ones((2, 2, 6, 8), "float16"), "computes in float32, expected")],
)
def test_others_stay_and_the_log_says_why(build, processors, caplog, weight, reason):
    attrs = {"strides": 2, "data_layout": "NHWC", "kernel_layout": "HWIO", "out_dtype": "float32"}

    def body(emit, x, w):
        return emit(relax.op.nn.conv2d_transpose(x, w if weight is None else relax.const(weight), **attrs))

    before = build(body, (1, 5, 5, 6), (2, 2, 6, 8))
    with caplog.at_level("INFO", "tvm_split.passes"):
        assert PackWeights(processors["avx2"])(before).same_as(before)
    assert reason in caplog.text
