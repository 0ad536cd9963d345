"""Depthwise 2-D convolution of uint8 data with int8 weights, exact in int32, for x86's dot products.

    data     [N][H][W][C] uint8
    weight   [rows][groups][KW][C] int32 words of 4 or 2 weights, one below the other in the window
    words    [N][OH / rows][groups][W + padding][C] int32 words of 4 or 2 data, one below the other
    sums     [N][OH / rows][rows][OW][C] int32
    result   [N][OH][OW][C] int32

Neither the window's height nor a multiple of it need be a whole number of words: weights beyond the window are 0. As
many `rows` of the result as fit read the same words, each with its weights moved down. The padding is in the words, so
that no product has a condition. The schedule (schedule/depthwise_int8.py) keeps the words in the first cache and the
sums in registers. It finds the blocks by their annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import te, tirx

from tvm_split.passes.kernels.conv2d import KERNEL, int64
from tvm_split.passes.kernels.depthwise import depthwise_conv2d
from tvm_split.passes.kernels.word_dot import VALUES, dot, dot_of, pack_words, word

#: values of KERNEL
WORDS, WORD_SUMS, WORD_ROWS = "depthwise_words", "depthwise_word_sums", "depthwise_word_rows"
#: dot products that are written out for one sum; larger windows are left to other kernels
MOST_DOTS = 64


@dataclass(frozen=True, slots=True)
class Words:
    """How a window is cut: `dot` names the product; `rows` of the result read the same `groups` of words.

    `shift` is how many values the next of these rows lies lower, `width` the columns of the window.
    """

    dot: str
    rows: int
    groups: int
    width: int
    shift: int


def words_of(dot_name: str, kernel: Sequence[int], stride: int, dilation: int) -> Words | None:
    """The cut of a kernel of [KH, KW]; None when its dot products are too many to be written out."""
    height, width = map(int, kernel)
    values = VALUES[dot_name]
    groups = -(-height // values)
    spare = groups * values - height
    rows = 1 if stride % dilation else spare // (stride // dilation) + 1
    cut = Words(dot_name, rows, groups, width, stride // dilation)
    return cut if groups * width <= MOST_DOTS else None


def pack_depthwise(weight: np.ndarray, cut: Words) -> np.ndarray:
    """int8 [KH][KW][C] -> int32 [rows][groups][KW][C]."""
    height, width, channels = weight.shape
    values = VALUES[cut.dot]
    filled = np.zeros((cut.rows, cut.groups * values, width, channels), "int8")
    for row in range(cut.rows):
        filled[row, row * cut.shift : row * cut.shift + height] = weight
    split = filled.reshape(cut.rows, cut.groups, values, width, channels)
    return pack_words(split.transpose(0, 1, 3, 4, 2), cut.dot)


def depthwise_int8(
    weight: np.ndarray, target: tvm.target.Target, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], pad_value: int = 0,
) -> tuple[np.ndarray, Callable[[te.Tensor, te.Tensor], te.Tensor]]:  # fmt: skip
    """For int8 weights [KH][KW][C], their packed form, and what makes the int32 result of uint8 data and that.

    `padding` is top, left, bottom, right, of `pad_value`, the code of zero.
    """
    name = dot_of(target)
    cut = words_of(name, weight.shape[:2], strides[0], dilation[0]) if name else None

    def kernel(x: te.Tensor, w: te.Tensor) -> te.Tensor:
        if cut is None:
            return depthwise_conv2d(x, w, strides, padding, dilation, pad_value)
        return depthwise_words(x, w, cut, weight.shape[0], strides, padding, dilation, pad_value)

    return weight.astype("int16") if cut is None else pack_depthwise(weight, cut), kernel


def depthwise_words(
    data: te.Tensor, weight: te.Tensor, cut: Words, kernel_h: int, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], pad_value: int = 0,
) -> te.Tensor:  # fmt: skip
    """`padding` is top, left, bottom, right, of `pad_value`."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    (stride_h, stride_w), (step_h, step_w) = (tuple(map(int, pair)) for pair in (strides, dilation))
    top, left, bottom, right = map(int, padding)
    out_h = (height + top + bottom - (kernel_h - 1) * step_h - 1) // stride_h + 1
    reach_w = (cut.width - 1) * step_w + 1
    out_w = (width + left + right - reach_w) // stride_w + 1
    values = VALUES[cut.dot]
    blocks = -(-out_h // cut.rows)
    columns = (out_w - 1) * stride_w + reach_w
    taps = (cut.rows - 1) * cut.shift + kernel_h  # values of all groups that have weights

    def value(n: tirx.Var, tap: tirx.Expr, row: tirx.Expr, w: tirx.Var, c: tirx.Var) -> tirx.Expr:
        """The element of the padded data."""
        inside = [tap < taps] if cut.groups * values > taps else []
        inside += [row >= top, row < height + top]
        inside += [w >= left] if left else []
        inside += [w < width + left] if columns > width + left else []
        loaded = data[n, row - top, w - left, c]
        return tirx.if_then_else(tirx.all(*inside), loaded, tirx.const(pad_value, "uint8"))

    def words_at(n: tirx.Var, block: tirx.Var, group: tirx.Var, w: tirx.Var, c: tirx.Var) -> tirx.Expr:
        parts = [tirx.const(0, "uint8")] * 4
        for i in range(values):
            tap = group * values + i
            row = block * (cut.rows * stride_h) + tap * step_h
            parts[i * (4 // values)] = value(n, tap, row, w, c)
        return word(parts)

    words = te.compute(
        int64(batch, blocks, cut.groups, columns, channels), words_at, name="words", attrs={KERNEL: WORDS}
    )

    def total(n: tirx.Var, block: tirx.Var, row: tirx.Var, w: tirx.Var, c: tirx.Var) -> tirx.Expr:
        sums: tirx.Expr = tirx.const(0, "int32")
        for group in range(cut.groups):
            for kw in range(cut.width):
                read = words[n, block, group, w * stride_w + kw * step_w, c]
                sums = dot(cut.dot, sums, read, weight[row, group, kw, c])
        return sums

    sums = te.compute(
        int64(batch, blocks, cut.rows, out_w, channels), total, name="word_sums", attrs={KERNEL: WORD_SUMS}
    )
    (rows,) = int64(cut.rows)
    return te.compute(
        int64(batch, out_h, out_w, channels),
        lambda n, h, w, c: sums[n, te.indexdiv(h, rows), te.indexmod(h, rows), w, c],
        name="word_rows", attrs={KERNEL: WORD_ROWS},
    )  # fmt: skip
