"""Pooling in both layouts: the same bits with the schedule as without."""

import numpy as np
import pytest
from tvm import relax

from tvm_split.passes.schedule.pool import Pool

SHAPES = {"NHWC": (1, 15, 14, 24), "NCHW": (1, 24, 15, 14)}


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("size, stride, padding", [(3, 2, 1), (2, 2, 0), (5, 1, 2), (9, 1, 4)])
@pytest.mark.parametrize("kind", ["max", "avg", "avg_counting_padding"])
def test_the_schedule_keeps_every_bit(kernel, compare, kind, size, stride, padding, layout):
    options = dict(pool_size=(size, size), strides=(stride, stride), padding=(padding,) * 4, layout=layout)
    if kind == "max":
        func = kernel(lambda emit, x: relax.op.nn.max_pool2d(x, **options), SHAPES[layout])
    else:
        counted = kind != "avg"
        func = kernel(lambda emit, x: relax.op.nn.avg_pool2d(x, count_include_pad=counted, **options), SHAPES[layout])
    scheduled, written, _ = compare(Pool(), func)
    assert np.array_equal(scheduled, written)


def test_what_follows_is_made_with_it(kernel, compare):
    def body(emit, x, scale):
        return relax.op.multiply(emit(relax.op.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC")), scale)

    scheduled, written, schedule = compare(Pool(), kernel(body, (1, 28, 28, 32), (32,)))
    assert np.array_equal(scheduled, written)
    assert schedule.mod.script().count("T.parallel") == 1


@pytest.mark.parametrize("body", [relax.op.exp, lambda x: relax.op.mean(x, [1, 2])], ids=["exp", "mean"])
def test_what_is_no_window_is_left_to_other_rules(kernel, host, body):
    assert Pool().apply(kernel(lambda emit, x: body(x), (1, 8, 8, 16)), host, False) is None
