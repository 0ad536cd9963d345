"""Softmax of rows, each sum of it made in LANES partial sums whatever the processor, so that all compute the same bits.

    data, result   [...][N]

Rows of all leading dimensions are one. `filled` is the data with -infinity up to a whole number of LANES, the
exponential of which is 0: so `most_lanes` and `sum_lanes` [rows][LANES], the largest and the sum of every LANES-th
element, need no conditions. Both are folded in halves. The schedule is schedule/row_softmax.py.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import round_up
from tvm_split.passes.kernels.matmul import rows_of
from tvm_split.passes.kernels.window import KERNEL, int64

LANES = 16
#: values of KERNEL: what is reduced by lanes; what is computed on whole vectors; anything else of the kernel
LANEWISE, VECTORS, FILLED, ROW = "row lanes", "row vectors", "row filled", "row"


def row_softmax(data: te.Tensor, logarithm: bool = False) -> te.Tensor:
    """softmax(data), or its logarithm, along the last axis; there are other axes."""
    *lead, columns = (int(extent) for extent in data.shape)
    rows, filled = prod(lead), round_up(columns, LANES)

    at = rows_of(data)

    def end(m: tirx.Var, k: tirx.Var) -> tirx.Expr:
        least = tirx.const(float("-inf"), data.dtype)
        return tirx.if_then_else(k < columns, at(m, k), least) if filled > columns else at(m, k)

    whole = te.compute(int64(rows, filled), end, name="filled", attrs={KERNEL: FILLED})
    most = _folded(_by_lanes(whole, te.max, "most_lanes"), tirx.max, "most")
    powers = te.compute(whole.shape, lambda m, k: te.exp(whole[m, k] - most[m]), name="powers", attrs={KERNEL: VECTORS})
    total = _folded(_by_lanes(powers, te.sum, "sum_lanes"), lambda a, b: a + b, "total")
    one = tirx.const(1, data.dtype)
    last = te.compute(
        int64(rows), lambda m: most[m] + te.log(total[m]) if logarithm else one / total[m], name="last",
        attrs={KERNEL: ROW},
    )  # fmt: skip

    def element(*index: tirx.Var) -> tirx.Expr:
        m = index[0]
        for extent, i in zip(lead[1:], index[1:-1], strict=True):
            m = m * extent + i
        return whole[m, index[-1]] - last[m] if logarithm else powers[m, index[-1]] * last[m]

    return te.compute(int64(*lead, columns), element, name="softmax", attrs={KERNEL: ROW})


def _by_lanes(read: te.Tensor, reduce: Callable[..., tirx.Expr], name: str) -> te.Tensor:
    rows, filled = (int(extent) for extent in read.shape)
    c = te.reduce_axis((0, *int64(filled // LANES)), "c")
    return te.compute(
        int64(rows, LANES), lambda m, lane: reduce(read[m, c * LANES + lane], axis=[c]), name=name,
        attrs={KERNEL: LANEWISE},
    )  # fmt: skip


def _folded(parts: te.Tensor, join: Callable[[tirx.Expr, tirx.Expr], tirx.Expr], name: str) -> te.Tensor:
    def fold(m: tirx.Var) -> tirx.Expr:
        values = [parts[m, lane] for lane in range(LANES)]
        while len(values) > 1:
            half = len(values) // 2
            values = [join(a, b) for a, b in zip(values[:half], values[half:], strict=True)]
        return values[0]

    return te.compute(parts.shape[:-1], fold, name=name, attrs={KERNEL: ROW})
