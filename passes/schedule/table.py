"""Look-ups in tables of 256 codes (tabulate_codes.py): by permutations of bytes, where the processor has them.

    Given:   out[i] = table[min(max(0, int(code)), 255)]                     code: uint8
    Result:  out[i] = look_up(table, code)       AVX-512 VBMI;     out[i] = table[int(code)]       elsewhere

look_up of a vector of up to 64 codes is two vpermi2b, which choose among the lower and the upper 128 entries by the
lower 7 bits of a code, and a choice between them by its upper bit. What is no vector stays a load.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.target import codegen

LOOK_UP = "tvm_split.look_up"
NEEDED = "avx512vbmi"
PERMUTE = "llvm.x86.avx512.vpermi2var.qi.512"
ENTRIES, REGISTER = 256, 64
CODES = ("uint8", "int8")
_PURE = 1


def permutes(target: tvm.target.Target) -> bool:
    """Whether the target permutes bytes among registers."""
    return bool(codegen.target_has_features(NEEDED, target))


def look_up_by_permutation(func: tirx.PrimFunc, target: tvm.target.Target) -> tirx.PrimFunc:
    """The function with look-ups in its tables so; itself when there are none."""
    permute = permutes(target)

    def rewrite(load: TensorLoad) -> tirx.Expr:
        table, code = load.source, code_of(load)
        if code is None:
            return load
        if permute:
            return tirx.call_intrin(table.dtype, LOOK_UP, table[0], code)  # a load, as it names the table
        return table[code.astype("int32")]

    body = tvm_ffi.structural_map(func.body, [(TensorLoad, rewrite)])
    return func if body.same_as(func.body) else func.with_body(body)


def code_of(load: TensorLoad) -> tirx.Expr | None:
    """The uint8 that a load from a table is of, whatever it is bounded by and converted to; None of other loads."""
    shape = [int(extent) if isinstance(extent, tirx.IntImm) else 0 for extent in load.source.shape]
    if shape != [ENTRIES] or str(load.source.dtype) not in CODES:
        return None
    index, wide = load.indices[0], False
    while isinstance(index, tirx.Min | tirx.Max):
        bound, other = (index.a, index.b) if isinstance(index.a, tirx.IntImm) else (index.b, index.a)
        limit = ENTRIES - 1 if isinstance(index, tirx.Min) else 0
        if not isinstance(bound, tirx.IntImm) or int(bound) != limit:
            return None
        index = other
    while isinstance(index, tirx.Cast) and str(index.ty) in ("int32", "int64"):
        index, wide = index.value, True
    return index if wide and str(index.ty) == "uint8" else None


def _lower(call: Call) -> tirx.Expr:
    first, codes = call.args
    entries = (first.value if isinstance(first, tirx.Broadcast) else first).source
    dtype, lanes = str(call.ty).split("x")[0], tvm.DataType(str(codes.ty)).lanes
    if lanes == 1 or lanes > REGISTER:
        return entries[codes.astype("int32" if lanes == 1 else f"int32x{lanes}")]
    codes = _shuffled([codes] * (REGISTER // lanes), REGISTER)
    quarters = [entries.vload([i * REGISTER], f"{dtype}x{REGISTER}") for i in range(ENTRIES // REGISTER)]
    lower, upper = (
        tirx.call_llvm_pure_intrin(f"{dtype}x{REGISTER}", PERMUTE, a, codes, b) for a, b in (quarters[:2], quarters[2:])
    )
    half = tirx.Broadcast(tirx.const(ENTRIES // 2, "uint8"), REGISTER)
    return _shuffled([tirx.Select(codes < half, lower, upper)], lanes)


def _shuffled(vectors: list[tirx.Expr], lanes: int) -> tirx.Expr:
    """The first lanes of vectors one after the other."""
    return tirx.Shuffle(vectors, [tirx.const(i, "int32") for i in range(lanes)])


tvm.ir.register_op_attr(LOOK_UP, "TCallEffectKind", _PURE)
tvm.ir.register_op_attr(LOOK_UP, "TVectorizable", True)
tvm.ir.register_op_attr(LOOK_UP, "TScriptPrinterName", LOOK_UP, 20)
tirx.op.register_intrin_lowering(LOOK_UP, "default", f=_lower, level=99)
