"""Dot products of x86: vpdpbusd on bytes, else vpmaddwd on words.

vpdpbusd multiplies four unsigned bytes by four signed ones and adds the four products to an int32, exactly. Where it
is missing, vpmaddwd does so with two words, to which bytes are widened; SSE2 has it, but no quick widening, so there
the weights are words in memory. (vpmaddubsw takes bytes, but its sums of two products saturate at 16 bits.)
"""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.script.ir_builder import tirx as T
from tvm.target import codegen

from tvm_split.passes.kernels.word_dot import LLVM_VPDPBUSD, LLVM_VPMADDWD
from tvm_split.passes.schedule.dot import Dot, register


def _bytes(dot: Dot, lanes: int, a: tirx.Buffer, b: tirx.Buffer, c: tirx.Buffer) -> None:
    vector, total = f"int8x{lanes * dot.terms}", f"int32x{lanes}"
    four = T.broadcast(T.reinterpret("int32", a.vload([0], "uint8x4")), lanes)
    weights = b.vload([0, 0], vector)
    sums = c.vload([0], total)
    T.buffer_store(
        c, T.call_llvm_pure_intrin(total, LLVM_VPDPBUSD[lanes], sums, T.reinterpret(vector, four), weights),
        [T.ramp(0, 1, lanes)],
    )  # fmt: skip


def _words(dot: Dot, lanes: int, a: tirx.Buffer, b: tirx.Buffer, c: tirx.Buffer) -> None:
    vector, total = f"int16x{lanes * dot.terms}", f"int32x{lanes}"
    two = T.broadcast(T.reinterpret("int32", a.vload([0], "int16x2")), lanes)
    weights = b.vload([0, 0], f"{dot.weight}x{lanes * dot.terms}").astype(vector)
    products = T.call_llvm_pure_intrin(total, LLVM_VPMADDWD[lanes], T.reinterpret(vector, two), weights)
    T.buffer_store(c, c.vload([0], total) + products, [T.ramp(0, 1, lanes)])


AVX512_VNNI = register(Dot("avx512vnni", terms=4, lanes=(16, 8, 4)), _bytes)
AVX_VNNI = register(Dot("avxvnni", terms=4, lanes=(8, 4)), _bytes)
AVX512_WORDS = register(Dot("avx512bw", terms=2, lanes=(16, 8, 4), data="int16", scratch=1), _words)
AVX2_WORDS = register(Dot("avx2", terms=2, lanes=(8, 4), data="int16", scratch=1), _words)
SSE2_WORDS = register(Dot("sse2", terms=2, lanes=(4,), data="int16", weight="int16", scratch=1), _words)

#: what a target must have for each, the fastest first
NEEDS = {
    AVX512_VNNI: ("avx512vnni", "avx512vl"),
    AVX512_WORDS: ("avx512bw", "avx512vl"),
    AVX_VNNI: ("avxvnni",),
    AVX2_WORDS: ("avx2",),
    SSE2_WORDS: ("sse2",),
}


def choose(target: tvm.target.Target) -> Dot | None:
    """The fastest of them that the target has."""
    return next((dot for dot, needs in NEEDS.items() if codegen.target_has_features(needs, target)), None)
