"""Depthwise 2-D convolution of uint8 data with int8 weights, exact in int32, for x86's dot products.

    data     [N][H][W][C] uint8
    weight   [R][Q][GH][GW][C] int32 words of weights, one for each word that a window touches
    words    [N][WH][WW][C] int32 words of the padded data: 2 x 2 bytes, or two values, one below the other
    sums     [N][OH / R][R][OW / Q][Q][C] int32
    result   [N][OH][OW][C] int32

Weights of fewer than 8 bits (stored.py) come as [rows][C] uint8; `decode` [KH][KW][C] and `weave` make words of them.

Each element of the data is in one word. A window begins anywhere in a word: R x Q results in a block begin in the same
words, at other places, so each has weights of its own, moved, with zeros around them. The padding is in the words, so
that no product has a condition. The schedule (schedule/depthwise_int8.py) keeps the words in the first cache and the
sums in registers. It finds the blocks by their annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import tvm
from tvm import te, tirx

from tvm_split.passes.kernels.depthwise import depthwise_conv2d
from tvm_split.passes.kernels.depthwise_wide import depthwise_wide
from tvm_split.passes.kernels.stored import decoded_taps, pack_codes, width_of
from tvm_split.passes.kernels.window import KERNEL, axes_of, dilated, int64, within
from tvm_split.passes.kernels.word_dot import VALUES, VPDPBUSD, VPMADDWD, dot, pack_words, word, word_dot_of

#: values of KERNEL
WORDS, WORD_SUMS, WORD_ROWS = "depthwise_words", "depthwise_word_sums", "depthwise_word_rows"
WEAVE = "depthwise_weave"
#: height and width of what is in a word
BLOCKS = {VPDPBUSD: (2, 2), VPMADDWD: (2, 1)}
#: dot products that are written out for one sum; larger windows are left to other kernels
MOST_DOTS = 64
#: channels of the shortest vector: with others than whole ones, nothing is gained by widening before
MIN_LANES = 4
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cut:
    """How windows are cut into words, each field for height and width.

    `block` is what a word holds; `results` is R, Q; `words` is GH, GW; `step` is how many words further the next R or
    Q results begin.
    """

    dot: str
    kernel: Pair
    strides: Pair
    block: Pair
    results: Pair
    words: Pair
    step: Pair


def cut_of(name: str, kernel: Sequence[int], strides: Sequence[int]) -> Cut | None:
    """The cut of windows of [KH, KW]; None when their dot products are too many to be written out."""
    along = []
    for block, size, stride in zip(BLOCKS[name], kernel, strides, strict=True):
        results = block // gcd(block, stride)
        along.append(
            (size, stride, block, results, -(-((results - 1) * stride + size) // block), results * stride // block)
        )
    cut = Cut(name, *zip(*along, strict=True))
    return cut if cut.words[0] * cut.words[1] <= MOST_DOTS else None


def pack_depthwise(weight: np.ndarray, cut: Cut) -> np.ndarray:
    """int8 [KH][KW][C] -> int32 [R][Q][GH][GW][C]."""
    (rows, columns), (high, wide), channels = cut.results, cut.block, weight.shape[2]
    filled = np.zeros((rows, columns, cut.words[0] * high, cut.words[1] * wide, channels), "int8")
    for row in range(rows):
        for column in range(columns):
            top, left = row * cut.strides[0], column * cut.strides[1]
            filled[row, column, top : top + cut.kernel[0], left : left + cut.kernel[1]] = weight
    split = filled.reshape(rows, columns, cut.words[0], high, cut.words[1], wide, channels)
    return pack_words(split.transpose(0, 1, 2, 4, 6, 3, 5).reshape(rows, columns, *cut.words, channels, -1), cut.dot)


def depthwise_int8(
    weight: np.ndarray, target: tvm.target.Target, strides: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], pad_value: int = 0,
) -> tuple[np.ndarray, Callable[[te.Tensor, te.Tensor], te.Tensor]]:  # fmt: skip
    """For int8 weights [KH][KW][C], their packed form, and what makes the int32 result of uint8 data and that.

    `padding` is top, left, bottom, right, of `pad_value`, the code of zero.
    """
    name, whole, bits = word_dot_of(target), dilated(weight, dilation), width_of(weight)
    cut = cut_of(name, whole.shape[:2], strides) if name else None
    taps = weight.shape[:2]

    def kernel(x: te.Tensor, w: te.Tensor) -> te.Tensor:
        if bits < 8:
            w = decoded_taps(w, taps, bits, "int16" if cut is None else "int8")
        if cut is None:
            plain = depthwise_conv2d if weight.shape[2] % MIN_LANES else depthwise_wide
            return plain(x, w, strides, padding, dilation, pad_value)
        if bits < 8:
            w = woven(w, cut, dilation)
        return depthwise_words(x, w, cut, padding, pad_value)

    if bits < 8:
        return pack_codes(weight.reshape(-1, weight.shape[2]), bits), kernel
    return weight.astype("int16") if cut is None else pack_depthwise(whole, cut), kernel


def woven(codes: te.Tensor, cut: Cut, dilation: Sequence[int]) -> te.Tensor:
    """What `pack_depthwise` makes, of codes [KH][KW][C] int8 within the kernel."""
    *taps, channels = (int(extent) for extent in codes.shape)
    each = 32 // VALUES[cut.dot]

    def code(at: tuple[tirx.Expr, tirx.Expr], c: tirx.Var) -> tirx.Expr:
        inside: list[tirx.Expr] = []
        for place, step, size in zip(at, dilation, taps, strict=True):
            inside += [place >= 0, place < (size - 1) * step + 1]
            inside += [te.indexmod(place, step) == 0] if step > 1 else []
        row, column = (te.indexdiv(place, step) for place, step in zip(at, dilation, strict=True))
        return tirx.if_then_else(tirx.all(*inside), codes[row, column, c], tirx.const(0, "int8"))

    def word_of(r: tirx.Var, q: tirx.Var, i: tirx.Var, j: tirx.Var, c: tirx.Var) -> tirx.Expr:
        total: tirx.Expr = tirx.const(0, "uint32")
        for part, (a, b) in enumerate(np.ndindex(*cut.block)):
            at = i * cut.block[0] + a - r * cut.strides[0], j * cut.block[1] + b - q * cut.strides[1]
            bits = code(at, c).astype("uint32") & tirx.const(2**each - 1, "uint32")
            total = total | (bits << tirx.const(each * part, "uint32"))
        return tirx.reinterpret("int32", total)

    return te.compute(int64(*cut.results, *cut.words, channels), word_of, name="weave", attrs={KERNEL: WEAVE})


def depthwise_words(
    data: te.Tensor, weight: te.Tensor, cut: Cut, padding: Sequence[int], pad_value: int = 0
) -> te.Tensor:
    """`padding` is top, left, bottom, right, of `pad_value`."""
    batch, *space, channels = (int(extent) for extent in data.shape)
    down, along = axes_of(space, cut.kernel, cut.strides, padding, (1, 1))
    (rows, columns), (high, wide) = cut.results, cut.block
    blocks = (-(-down.out // rows), -(-along.out // columns))
    extents = [(n - 1) * step + words for n, step, words in zip(blocks, cut.step, cut.words, strict=True)]

    def value(n: tirx.Var, row: tirx.Expr, column: tirx.Expr, c: tirx.Var) -> tirx.Expr:
        """The element of the padded data."""
        inside = within(row, down.before, down.extent, extents[0] * high)
        inside += within(column, along.before, along.extent, extents[1] * wide)
        loaded = data[n, row - down.before, column - along.before, c]
        return tirx.if_then_else(tirx.all(*inside), loaded, tirx.const(pad_value, "uint8")) if inside else loaded

    def word_at(n: tirx.Var, row: tirx.Var, column: tirx.Var, c: tirx.Var) -> tirx.Expr:
        values = [value(n, row * high + i, column * wide + j, c) for i in range(high) for j in range(wide)]
        parts = [tirx.const(0, "uint8")] * 4
        parts[:: 4 // len(values)] = values
        return word(parts)

    words = te.compute(int64(batch, *extents, channels), word_at, name="words", attrs={KERNEL: WORDS})

    def total(
        n: tirx.Var, block: tirx.Var, row: tirx.Var, across: tirx.Var, column: tirx.Var, c: tirx.Var
    ) -> tirx.Expr:  # fmt: skip
        sums: tirx.Expr = tirx.const(0, "int32")
        for i in range(cut.words[0]):
            for j in range(cut.words[1]):
                read = words[n, block * cut.step[0] + i, across * cut.step[1] + j, c]
                sums = dot(cut.dot, sums, read, weight[row, column, i, j, c])
        return sums

    sums = te.compute(
        int64(batch, blocks[0], rows, blocks[1], columns, channels), total, name="word_sums", attrs={KERNEL: WORD_SUMS}
    )
    r, q = int64(rows, columns)
    return te.compute(
        int64(batch, down.out, along.out, channels),
        lambda n, h, w, c: sums[n, te.indexdiv(h, r), te.indexmod(h, r), te.indexdiv(w, q), te.indexmod(w, q), c],
        name="word_rows", attrs={KERNEL: WORD_ROWS},
    )  # fmt: skip
