"""Depthwise kernels: the definition, and the same bits with the schedule as without."""

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from tvm_split.passes.kernels.depthwise import depthwise_conv2d
from tvm_split.passes.kernels.window import int64
from tvm_split.passes.schedule.depthwise import Depthwise

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "haswell"})


def function(height, width, channels, kernel, stride=1, padding=None, dilation=1, follow=True):
    padding = padding or (kernel // 2 * dilation,) * 4
    x, w, b = (
        te.placeholder(int64(*shape), "float32", name)
        for shape, name in (((1, height, width, channels), "x"), ((kernel, kernel, channels), "w"), ((channels,), "b"))
    )
    y = depthwise_conv2d(x, w, (stride, stride), padding, (dilation, dilation))
    if not follow:
        return te.create_prim_func([x, w, y])
    z = te.compute(y.shape, lambda n, i, j, c: y[n, i, j, c] + b[c], "bias")
    out = te.compute(y.shape, lambda *i: te.max(z(*i), tirx.const(0.0, "float32")), "relu")
    return te.create_prim_func([x, w, b, out])


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        (14, 14, 32, 3),
        (15, 13, 24, 3, 2),
        (7, 7, 48, 5),
        (9, 11, 16, 5, 2, (1, 2, 2, 1)),
        (12, 12, 8, 3, 1, None, 2),
        (6, 6, 16, 3, 1, (0, 0, 0, 0)),
        (28, 5, 4, 7),
    ],
    ids=str,
)
def test_the_schedule_keeps_every_bit(compare, shape, follow):
    scheduled, written, _ = compare(Depthwise(), function(*shape, follow=follow))
    assert np.array_equal(scheduled, written)


def test_the_kernel_is_the_definition():
    func = function(6, 7, 8, 3, 2, (1, 0, 0, 1), follow=False)
    random = np.random.default_rng(1)
    x, w = random.standard_normal((1, 6, 7, 8)), random.standard_normal((3, 3, 8))
    padded = np.pad(x.astype("f4").astype("f8"), ((0, 0), (1, 0), (0, 1), (0, 0)))
    weight = w.astype("f4").astype("f8")
    wanted = sum(padded[:, i : i + 5 : 2, j : j + 6 : 2] * weight[i, j] for i in range(3) for j in range(3))
    tensors = [tvm.runtime.tensor(a.astype("f4")) for a in (x, w, np.zeros(wanted.shape))]
    tvm.compile(func, tvm.target.Target("llvm")).mod["main"](*tensors)
    # 9 products and 8 additions, each rounded by 2^-24 of no more than the sum of sizes, at most 9 * 4 * 4
    assert np.abs(tensors[2].numpy() - wanted).max() <= 17 * 2.0**-24 * 9 * 16


def test_other_functions_are_left_to_other_rules():
    x = te.placeholder((4, 4), "float32", "x")
    assert (
        Depthwise().apply(te.create_prim_func([x, te.compute((4, 4), lambda i, j: x[i, j] + 1.0)]), TARGET, False)
        is None
    )
    assert Depthwise().apply(function(5, 5, 3, 3), TARGET, False) is None  # 3 channels are no vector


def test_no_padded_copy_is_made(compare):
    _, _, schedule = compare(Depthwise(), function(14, 14, 32, 3))
    text = schedule.mod.script()
    assert 'T.sblock("pad")' not in text and text.count("T.parallel") == 1 and "T.vectorized" in text
