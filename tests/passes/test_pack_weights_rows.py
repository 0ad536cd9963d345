"""1-D convolutions, and 2-D ones of a single column: packed and compiled as in a network, against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_split.passes.pack_weights import PackWeights

UNIT = 2.0**-24  # what rounding to float32 loses of a number, relative


def network(build, x, w, bias, column, stride, padding, dilation, groups):
    """Convolution, bias and ReLU; NCW, or NCHW with one column."""

    def body(emit, data):
        if column:
            attrs = {"strides": [stride, 1], "padding": [padding[0], 0, padding[1], 0], "dilation": [dilation, 1]}
            made = emit(relax.op.nn.conv2d(data, relax.const(w[..., None]), groups=groups, **attrs))
        else:
            attrs = {"strides": stride, "padding": list(padding), "dilation": dilation}
            made = emit(relax.op.nn.conv1d(data, relax.const(w), groups=groups, **attrs))
        shape = (-1, 1, 1) if column else (-1, 1)
        return emit(relax.op.nn.relu(emit(relax.op.add(made, relax.const(bias.reshape(shape))))))

    return build(body, (*x.shape, 1) if column else x.shape)


def sums(x, w, stride, padding, dilation, groups):
    """Exact to 1e-14, and the sum of the products' magnitudes: [2][N][O][OW]."""
    wide = np.pad(x, ((0, 0), (0, 0), padding)).astype("float64")
    kernel, inner, outer = w.shape[2], w.shape[1], w.shape[0] // groups
    count = (wide.shape[2] - (kernel - 1) * dilation - 1) // stride + 1
    found = np.zeros((2, x.shape[0], w.shape[0], count))
    for k in range(kernel):
        part = wide[:, :, k * dilation :][:, :, : (count - 1) * stride + 1 : stride]
        for g in range(groups):
            read, o = part[:, g * inner : (g + 1) * inner], slice(g * outer, (g + 1) * outer)
            found[0][:, o] += np.einsum("niw,oi->now", read, w[o, :, k].astype("float64"))
            found[1][:, o] += np.einsum("niw,oi->now", np.abs(read), np.abs(w[o, :, k]).astype("float64"))
    return found


def check(
    build, check_bits, batch, width, inner, outer, kernel, stride, padding, dilation, groups=1, column=False, seed=0
):
    """`inner` and `outer` are channels of a group."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, inner * groups, width)).astype("float32")
    w = rng.standard_normal((outer * groups, inner, kernel)).astype("float32")
    bias = rng.standard_normal(outer * groups).astype("float32")
    mod = network(build, x, w, bias, column, stride, padding, dilation, groups)
    exact, magnitude = sums(x, w, stride, padding, dilation, groups)
    bound = (kernel * inner + 2) * UNIT * 1.01 * (magnitude + np.abs(bias[:, None]))
    exact = np.maximum(exact + bias[:, None], 0)
    x, exact, bound = (each[..., None] if column else each for each in (x, exact, bound))
    check_bits(mod, (x,), exact, bound)


CASES = {  # batch, width, channels in and out of a group, kernel, stride, padding, dilation, groups
    "speech": (1, 150, 20, 96, 3, 1, (1, 1), 1), "speech_stride": (1, 75, 32, 48, 3, 2, (1, 1), 1),
    "keywords": (2, 49, 16, 33, 9, 1, (4, 4), 1), "dilated": (1, 60, 16, 16, 3, 1, (4, 4), 4),
    "causal": (1, 31, 8, 24, 4, 1, (3, 0), 1), "samples": (1, 400, 1, 16, 40, 4, (18, 18), 1),
    "point": (2, 19, 12, 40, 1, 1, (0, 0), 1), "point_stride": (2, 19, 12, 40, 1, 2, (0, 0), 1),
    "grouped": (1, 30, 8, 12, 5, 1, (2, 2), 1, 3), "one_channel": (1, 20, 6, 1, 3, 1, (1, 1), 1),
    "odd_groups": (1, 30, 2, 3, 5, 1, (2, 2), 1, 3), "depthwise": (1, 30, 1, 1, 5, 1, (2, 2), 1, 24),
}  # fmt: skip


@pytest.mark.parametrize("column", [False, True], ids=["row", "column"])
@pytest.mark.parametrize("case", CASES)
def test_within_the_bound_of_the_sum_and_the_same_bits(build, check_bits, case, column):
    check(build, check_bits, *CASES[case], column=column)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_shape(build, check_bits, data):
    draw = lambda *range_: data.draw(st.integers(*range_))  # noqa: E731
    kernel, stride, dilation = draw(1, 6), draw(1, 3), draw(1, 3)
    padding = (draw(0, kernel), draw(0, kernel))
    width = draw(max(1, (kernel - 1) * dilation + 1 - sum(padding)), 70)
    check(build, check_bits, draw(1, 2), width, draw(1, 20), draw(1, 40), kernel, stride, padding, dilation, 1,
          data.draw(st.booleans()), draw(0, 99))  # fmt: skip


@pytest.mark.parametrize("column", [False, True], ids=["row", "column"])
@pytest.mark.parametrize("processor", ["avx2", "avx512", "arm"])
def test_tiles_have_several_pixels(build, processors, scheduled, column, processor):
    x, w, bias = np.ones((1, 32, 60), "float32"), np.ones((48, 32, 3), "float32"), np.ones(48, "float32")
    found = scheduled(network(build, x, w, bias, column, 1, (1, 1), 1, 1), processors[processor])
    (kernel,) = [kernel for rule, kernel in found if rule == "Packed"]
    pixels = next(int(line.split('"tvm_split.pixels": ')[1].split(",")[0].rstrip("})"))
                  for line in kernel.script().splitlines() if '"tvm_split.pixels"' in line)  # fmt: skip
    assert pixels >= 4 and f"T.unroll(T.int64({pixels}))" in kernel.script()


@pytest.mark.parametrize(
    "shapes, body, reason",
    [
        ([(1, 8, 9), (4, 8, 3)], lambda x, w: relax.op.nn.conv1d(x, w), "layouts are NCW, OIW, NCW"),
        (
            [(1, 9, 8), (3, 8, 4)],
            lambda x, w: relax.op.nn.conv1d(x, w, data_layout="NWC", kernel_layout="WIO"),
            "no constant weights",
        ),
    ],
)
def test_others_stay_and_the_log_says_why(build, processors, caplog, shapes, body, reason):
    before = build(lambda emit, *x: emit(body(*x)), *shapes)
    with caplog.at_level("INFO", "tvm_split.passes"):
        assert PackWeights(processors["avx2"])(before).same_as(before)
    assert reason in caplog.text
