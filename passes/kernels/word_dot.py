"""Dot products of small integers packed into 32-bit words, as calls that become one x86 instruction a vector.

    Given:   dot(VPDPBUSD, acc, data, weight) with 16 lanes, each word 4 x uint8 against 4 x int8
    Result:  vpdpbusd zmm;    in one lane: acc + (data & 255) * (weight << 24 >> 24) + ...

Both forms give the same bits: no sum of four products of 8 bits leaves 32 bits, and nothing saturates. The first value
lies in the lowest bits of its word. A kernel made with one of them is for a target of which `word_dot_of` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import tirx
from tvm.ir import Call
from tvm.target import codegen

#: 4 x uint8 times 4 x int8; 2 x int16 times 2 x int16
VPDPBUSD, VPMADDWD = "tvm_split.vpdpbusd", "tvm_split.vpmaddwd"
#: a word of four bytes
WORD = "tvm_split.word"
#: values in a word
VALUES = {VPDPBUSD: 4, VPMADDWD: 2}
_PURE = 1
#: LLVM's names of the instructions, by the lanes of int32 in a register; schedule/dot_x86.py calls them, too
LLVM_VPDPBUSD = {lanes: f"llvm.x86.avx512.vpdpbusd.{lanes * 32}" for lanes in (16, 8, 4)}
LLVM_VPMADDWD = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}


def word_dot_of(target: tvm.target.Target) -> str | None:
    """The better of the two that the target has for every vector that it has; None: neither."""

    def has(*features: str) -> bool:
        return all(codegen.target_has_features(feature, target) for feature in features)

    if has("avx512vnni", "avx512vl") or (has("avxvnni") and not has("avx512f")):
        return VPDPBUSD
    return VPMADDWD if has("sse2") and (has("avx512bw") or not has("avx512f")) else None


def dot(name: str, total: tirx.Expr, data: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
    """total + the dot product of the two words; all int32."""
    return tirx.call_intrin("int32", name, total, data, weight)


def pack_words(values: np.ndarray, name: str) -> np.ndarray:
    """int8 [..., VALUES[name]] -> int32 words [...]."""
    return np.ascontiguousarray(values.astype("int8" if name == VPDPBUSD else "<i2")).view("<i4")[..., 0]


def word(parts: Sequence[tirx.Expr]) -> tirx.Expr:
    """The int32 word of four uint8, the lowest bits first."""
    return tirx.call_intrin("int32", WORD, *parts)


def _lower_word(call: Call) -> tirx.Expr:
    lanes, _ = _vector(call)
    if lanes == 1:
        # unsigned: TVM computes shifts of constants (padding), and refuses what leaves int32
        total = tirx.const(0, "uint32")
        for i, part in enumerate(call.args):
            total = total | (part.astype("uint32") << tirx.const(8 * i, "uint32"))
        return tirx.reinterpret("int32", total)
    order = [part * lanes + lane for lane in range(lanes) for part in range(4)]
    return tirx.reinterpret(str(call.ty), tirx.Shuffle(list(call.args), order))


def _lower_vpdpbusd(call: Call) -> tirx.Expr:
    total, data, weight = call.args
    lanes, number = _vector(call)
    if lanes in LLVM_VPDPBUSD:
        parts = [tirx.reinterpret(f"int8x{4 * lanes}", word) for word in (data, weight)]
        return tirx.call_llvm_pure_intrin(str(call.ty), LLVM_VPDPBUSD[lanes], total, *parts)
    for i in range(4):
        byte = (data >> number(8 * i)) & number(255)
        total = total + byte * ((weight << number(24 - 8 * i)) >> number(24))
    return total


def _lower_vpmaddwd(call: Call) -> tirx.Expr:
    total, data, weight = call.args
    lanes, number = _vector(call)
    if lanes in LLVM_VPMADDWD:
        parts = [tirx.reinterpret(f"int16x{2 * lanes}", word) for word in (data, weight)]
        return total + tirx.call_llvm_pure_intrin(str(call.ty), LLVM_VPMADDWD[lanes], *parts)
    for shift in (16, 0):
        a, b = ((word << number(shift)) >> number(16) for word in (data, weight))
        total = total + a * b
    return total


def _vector(call: Call) -> tuple[int, Callable[[int], tirx.Expr]]:
    """The call's lanes, and what makes constants of them."""
    lanes = tvm.DataType(str(call.ty)).lanes

    def number(value: int) -> tirx.Expr:
        constant = tirx.const(value, "int32")
        return constant if lanes == 1 else tirx.Broadcast(constant, lanes)

    return lanes, number


for _name, _rule in ((WORD, _lower_word), (VPDPBUSD, _lower_vpdpbusd), (VPMADDWD, _lower_vpmaddwd)):
    tvm.ir.register_op_attr(_name, "TCallEffectKind", _PURE)
    tvm.ir.register_op_attr(_name, "TVectorizable", True)
    tvm.ir.register_op_attr(_name, "TScriptPrinterName", _name, 20)
    tirx.op.register_intrin_lowering(_name, "default", f=_rule, level=99)
